"""An identity provider on loopback: keys to sign with, and a server of its public documents."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.support.server import AUDIENCE, ISSUER

MAKERS: dict[str, Any] = {
    "RS": lambda: rsa.generate_private_key(65537, 2048),
    "short": lambda: rsa.generate_private_key(65537, 1024),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ES384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "ES512": lambda: ec.generate_private_key(ec.SECP521R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
}
WRITERS = {"RS": RSAAlgorithm, "short": RSAAlgorithm, "EdDSA": OKPAlgorithm, "Ed448": OKPAlgorithm}


def private_key(kind: str, number: int = 0) -> Any:
    """Return the key of a kind with a number, the same one each time."""
    return _made(kind, number)


@cache
def _made(kind: str, number: int) -> Any:
    return MAKERS[kind]()


def jwk(kind: str, kid: str | None, number: int = 0, **fields: Any) -> dict[str, Any]:
    """Return the public half of a key as a set holds it."""
    public = private_key(kind, number).public_key()
    entry: dict[str, Any] = WRITERS.get(kind, ECAlgorithm).to_jwk(public, as_dict=True)
    return entry | ({"kid": kid} if kid else {}) | fields


def key_set(*entries: dict[str, Any]) -> bytes:
    return json.dumps({"keys": entries}).encode()


def signed(key: Any, algorithm: str, kid: str | None = None, **claims: Any) -> str:
    """Return a token that only its signature can make wrong."""
    standard = {"sub": "ada", "exp": int(time.time()) + 3600, "aud": AUDIENCE, "iss": ISSUER}
    return jwt.encode(standard | claims, key, algorithm, headers={"kid": kid} if kid else None)


def es256(kid: str | None, number: int = 0, **claims: Any) -> str:
    return signed(private_key("ES256", number), "ES256", kid, **claims)


class Provider:
    """Serves `documents`, path -> body; an `int` is a status, a text the address of a redirect."""

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.documents: dict[str, bytes | int | str] = {}
        self.requests: list[str] = []
        self.gate = threading.Event()
        """Answers wait until it is set."""
        self.gate.set()
        self.url = f"http://127.0.0.1:{server.server_address[1]}"

    def publish(self, *entries: dict[str, Any]) -> None:
        """Serve these keys at `/keys` from now on."""
        self.documents["/keys"] = key_set(*entries)


@contextmanager
def running_provider() -> Iterator[Provider]:
    """Yield a provider that serves for as long as the block lasts."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            document = provider.documents.get(self.path, 404)
            provider.requests.append(self.path)
            provider.gate.wait(20)
            self.send_response({bytes: 200, str: 302}.get(type(document)) or int(document))
            if isinstance(document, str):
                self.send_header("Location", document)
            self.end_headers()
            if isinstance(document, bytes):
                self.wfile.write(document)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(server)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            provider.gate.set()
            server.shutdown()
            thread.join(10)
