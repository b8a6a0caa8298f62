"""Logins by an identity provider's public keys: which tokens count, how keys are renewed."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from antiphon.api import keys
from antiphon.api.auth import Authenticator
from antiphon.api.keys import FAMILIES, REFRESH_SECONDS, SIZE, KeySet
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings
from tests.api.wire import socket, sse
from tests.support.model_server import Reply
from tests.support.provider import (
    Provider,
    es256,
    jwk,
    key_set,
    private_key,
    running_provider,
    signed,
)
from tests.support.server import (
    AUDIENCE,
    ISSUER,
    SECRET,
    Teller,
    model_settings,
    running_server,
    token,
)

KINDS = {name: "RS" if name[:2] in ("RS", "PS") else name for name in FAMILIES}
SYMMETRIC = "c29tZSBrZXkgdGhhdCBldmVyeWJvZHkgY2FuIHJlYWQgaGVyZQ"
ENTRIES = [
    jwk("RS", "rsa"),
    *(jwk(name, name) for name in ("ES256", "ES384", "ES512", "EdDSA", "Ed448")),
    jwk("RS", "only RS256", 1, alg="RS256"),
    jwk("RS", "encrypts", 2, use="enc"),
    jwk("short", "short"),
    {"kty": "oct", "kid": "symmetric", "k": SYMMETRIC},
    {"kty": "RSA", "kid": "broken", "n": "AQAB"},
    {"kty": "EC", "kid": "odd", "crv": ["P-256"]},
]


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        running.publish(*ENTRIES)
        yield running


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys.json"
    path.write_bytes(b"\xef\xbb\xbf" + key_set(*ENTRIES))
    return path


def settings(source: object, **given: Any) -> Settings:
    return Settings(jwt_keys=str(source), jwt_audience=AUDIENCE, jwt_issuer=ISSUER, **given)


async def code(authenticator: Authenticator, text: str) -> str:
    """Return the code with which a token is refused; the user's id if it is not."""
    try:
        return (await authenticator.principal(text)).id
    except Problem as problem:
        return problem.code


@pytest.mark.parametrize("algorithm", FAMILIES)
async def test_tokens_of_every_algorithm_are_accepted_by_their_kid(
    file: Path, algorithm: str
) -> None:
    kind = KINDS[algorithm]
    text = signed(private_key(kind), algorithm, "rsa" if kind == "RS" else kind)
    assert await code(Authenticator(settings(file)), text) == "ada"


@pytest.mark.parametrize("algorithm", FAMILIES)
async def test_without_a_kid_the_keys_that_fit_are_tried(file: Path, algorithm: str) -> None:
    text = signed(private_key(KINDS[algorithm]), algorithm)
    assert await code(Authenticator(settings(file)), text) == "ada"


async def test_the_algorithm_decides_between_the_secret_and_the_keys(file: Path) -> None:
    both = Authenticator(settings(file, jwt_secret=SECRET))
    assert await code(both, token("bob")) == "bob"
    assert await code(both, es256("ES256")) == "ada"
    assert await code(Authenticator(settings(file)), token("bob")) == "AUTH_INVALID"


def pem(kind: str) -> bytes:
    public = private_key(kind).public_key()
    return bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))


def hmac_signed(secret: bytes, kid: str) -> str:
    """Return an HS256 token with any secret; PyJWT itself refuses to sign with a public key."""
    algorithm = jwt.get_algorithm_by_name("HS256")
    head, body, _ = signed("x" * 32, "HS256", kid).split(".")
    signature = algorithm.sign(f"{head}.{body}".encode(), secret)
    return f"{head}.{body}.{jwt.utils.base64url_encode(signature).decode()}"


def with_header(text: str, **fields: Any) -> str:
    """Return a token whose header was changed after it was signed."""
    head, body, signature = text.split(".")
    header = json.loads(jwt.utils.base64url_decode(head)) | fields
    return f"{jwt.utils.base64url_encode(json.dumps(header).encode()).decode()}.{body}.{signature}"


FORGED = {
    "public key as secret, PEM": hmac_signed(pem("RS"), "rsa"),
    "public key as secret, JWK": hmac_signed(json.dumps(jwk("RS", "rsa")).encode(), "rsa"),
    "empty secret": hmac_signed(b"", "rsa"),
    "a secret in the set": hmac_signed(jwt.utils.base64url_decode(SYMMETRIC), "symmetric"),
    "alg none": with_header(es256("ES256"), alg="none"),
    "alg none, unsigned": with_header(es256("ES256"), alg="none").rpartition(".")[0] + ".",
    "unknown kid": es256("unknown"),
    "another key's kid": es256("EdDSA"),
    "kid of another curve": signed(private_key("ES256"), "ES256", "ES384"),
    "curve of another algorithm": with_header(
        signed(private_key("ES384"), "ES384", "ES384"), alg="ES256"
    ),
    "kid of another type": signed(private_key("RS"), "RS256", "ES256"),
    "another key": es256("ES256", 9),
    "another key without kid": es256(None, 9),
    "an algorithm that the key is not for": signed(private_key("RS", 1), "PS256", "only RS256"),
    "a key that encrypts": signed(private_key("RS", 2), "RS256", "encrypts"),
    "zeros": es256("ES256").rpartition(".")[0] + "." + "A" * 86,
    "unknown algorithm": with_header(es256("ES256"), alg="ES256K"),
    "a number as algorithm": with_header(es256("ES256"), alg=256),
    "a number as kid": with_header(es256("ES256"), kid=5),
    "its own key": jwt.encode(
        {"sub": "ada", "exp": 9_999_999_999, "aud": AUDIENCE, "iss": ISSUER},
        private_key("ES256", 9),
        "ES256",
        {"jwk": jwk("ES256", "mine", 9), "jku": "http://127.0.0.1:1/keys"},
    ),
    "expired": es256("ES256", exp=1),
    "another audience": es256("ES256", aud="another"),
}


@pytest.mark.parametrize("name", FORGED)
@pytest.mark.parametrize("secret", [None, SECRET])
async def test_forged_tokens_are_refused(
    file: Path, name: str, secret: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.0)
    authenticator = Authenticator(settings(file, jwt_secret=secret))
    assert await code(authenticator, FORGED[name]) == "AUTH_INVALID"


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_short_rsa_key_checks_nothing(file: Path) -> None:
    text = signed(private_key("short"), "RS256", "short")
    assert await code(Authenticator(settings(file)), text) == "AUTH_INVALID"


# ------------------------------------------------------------------------------------------ caching


class Hands:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def hands() -> Hands:
    return Hands()


async def kids(key_source: KeySet, kid: str | None) -> list[str | None]:
    return [key.kid for key in await key_source.fitting("ES256", kid)]


async def test_many_logins_at_once_are_one_fetch(provider: Provider, hands: Hands) -> None:
    source = KeySet(f"{provider.url}/keys", hands)
    found = await asyncio.gather(*(kids(source, "ES256") for _ in range(100)))
    assert found == [["ES256"]] * 100
    assert len(provider.requests) == 1


async def test_many_unknown_kids_at_once_are_one_fetch(provider: Provider, hands: Hands) -> None:
    source = KeySet(f"{provider.url}/keys", hands)
    await kids(source, "ES256")
    provider.publish(jwk("ES256", "new", 1))
    hands.now += 1
    found = await asyncio.gather(*(kids(source, f"x{number}") for number in range(99)))
    assert found == [[]] * 99
    assert await kids(source, "new") == ["new"]
    assert len(provider.requests) == 2


async def test_an_unknown_kid_waits_a_second_after_the_last_fetch(provider: Provider) -> None:
    source = KeySet(f"{provider.url}/keys")
    begun = asyncio.get_running_loop().time()
    await kids(source, "ES256")
    assert await kids(source, "unknown") == []
    assert asyncio.get_running_loop().time() - begun >= keys.PAUSE_SECONDS * 0.99
    assert len(provider.requests) == 2


async def test_a_key_that_vanished_is_unknown_after_the_next_refresh(
    provider: Provider, hands: Hands
) -> None:
    source = KeySet(f"{provider.url}/keys", hands)
    await kids(source, "ES256")
    provider.publish(jwk("ES256", "new", 1))
    hands.now += REFRESH_SECONDS - 1
    assert await kids(source, "ES256") == ["ES256"]
    hands.now += 1
    assert await kids(source, "ES256") == []


@pytest.mark.parametrize(
    "document",
    [
        500,
        404,
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": 5}',
        b"[" * 5000,
        b" " * SIZE + key_set(),
        "http://elsewhere.example/keys",
        "file:///etc/passwd",
        b'{"jwks_uri": "/etc/passwd"}',
        b'{"jwks_uri": "http://elsewhere.example/keys"}',
    ],
    ids=lambda document: str(document)[:30].strip(),
)
async def test_old_keys_stay_if_the_provider_answers_nonsense(
    provider: Provider, hands: Hands, document: bytes | int | str, caplog: pytest.LogCaptureFixture
) -> None:
    source = KeySet(f"{provider.url}/keys", hands)
    await kids(source, "ES256")
    provider.documents["/keys"] = document
    hands.now += REFRESH_SECONDS
    with caplog.at_level(logging.WARNING):
        assert await kids(source, "ES256") == ["ES256"]
    assert "could not be read" in caplog.text
    assert len(provider.requests) == 2


async def test_a_provider_that_hangs_is_given_up(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "FETCH_SECONDS", 0.1)
    provider.gate.clear()
    with pytest.raises(Problem) as refused:
        await kids(KeySet(f"{provider.url}/keys"), "ES256")
    assert (refused.value.code, refused.value.retry_after) == ("UNAVAILABLE", keys.RETRY_SECONDS)


async def test_a_caller_that_goes_does_not_end_the_fetch_of_others(provider: Provider) -> None:
    provider.gate.clear()
    source = KeySet(f"{provider.url}/keys")
    impatient = asyncio.create_task(kids(source, "ES256"))
    patient = asyncio.create_task(kids(source, "ES256"))
    while not provider.requests:
        await asyncio.sleep(0)
    impatient.cancel()
    provider.gate.set()
    assert await patient == ["ES256"]
    assert len(provider.requests) == 1


async def test_a_key_that_is_published_during_a_fetch_is_not_missed(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.0)
    source = KeySet(f"{provider.url}/keys")
    provider.gate.clear()
    first = asyncio.create_task(kids(source, "ES256"))
    while not provider.requests:
        await asyncio.sleep(0)
    provider.publish(*ENTRIES, jwk("ES256", "new", 1))
    second = asyncio.create_task(kids(source, "new"))
    await asyncio.sleep(0)
    provider.gate.set()
    assert (await first, await second) == (["ES256"], ["new"])
    assert len(provider.requests) == 2


@pytest.mark.parametrize("is_redirected", [False, True])
async def test_a_discovery_document_is_followed(provider: Provider, is_redirected: bool) -> None:
    path = "/.well-known/openid-configuration"
    document = json.dumps({"issuer": ISSUER, "jwks_uri": f"{provider.url}/keys"}).encode()
    provider.documents[path] = f"{provider.url}/real" if is_redirected else document
    provider.documents["/real"] = document
    assert await kids(KeySet(provider.url + path), "ES256") == ["ES256"]


@pytest.mark.parametrize("is_replaced", [False, True])
async def test_a_file_that_changes_is_read_again(
    file: Path, is_replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.0)
    source = KeySet(str(file))
    assert await kids(source, "ES256") == ["ES256"]
    target = file.with_name("next.json") if is_replaced else file
    target.write_bytes(key_set(jwk("ES256", "new", 1)))
    target.replace(file)
    assert await kids(source, "ES256") == []
    assert await kids(source, "new") == ["new"]
    await asyncio.to_thread(file.unlink)
    assert await kids(source, "new") == ["new"], "the old ones stay"


async def test_an_empty_set_takes_all_keys_back(provider: Provider, hands: Hands) -> None:
    source = KeySet(f"{provider.url}/keys", hands)
    await kids(source, "ES256")
    provider.publish()
    hands.now += REFRESH_SECONDS
    with pytest.raises(Problem):
        await kids(source, "ES256")


# ------------------------------------------------------------------------------------ over the wire


@pytest.mark.parametrize("way", ["file", "url"])
async def test_streams_go_on_while_keys_rotate(
    tmp_path: Path,
    provider: Provider,
    teller: Teller,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(keys, "REFRESH_SECONDS", 0.0)
    path = tmp_path / "keys.json"

    def publish(*entries: dict[str, Any]) -> None:
        provider.publish(*entries)
        path.with_suffix(".new").write_bytes(key_set(*entries))
        path.with_suffix(".new").replace(path)

    old, new = jwk("ES256", "old"), jwk("ES256", "new", 1)
    before, after = es256("old"), es256("new", 1)
    publish(old)
    gate = threading.Event()
    reply = Reply(chunks=["One", " two", " three."], gate=gate, gate_at=1)
    question = teller.answer(f"Do keys rotate in a {way}?", reply)
    source = path if way == "file" else f"{provider.url}/keys"
    given = {"jwt_keys": str(source), "jwt_audience": AUDIENCE, "jwt_issuer": ISSUER}
    with running_server(tmp_path, **model_settings(teller), **given) as server:
        async with (
            httpx.AsyncClient(base_url=server.url, timeout=15, trust_env=False) as client,
            socket(f"{server.ws}/api/v1/ws?token={before}") as opened,
            sse(
                client,
                "POST",
                "/api/v1/runs",
                json={"message": question},
                headers={"authorization": f"Bearer {before}"},
            ) as reader,
        ):

            async def status(text: str) -> int:
                headers = {"authorization": f"Bearer {text}"}
                return (await client.get("/api/v1/threads", headers=headers)).status_code

            await opened.send(type="message", message=question)
            await opened.until("agent_chunk")
            await reader.until("agent_chunk")
            assert (await status(before), await status(after)) == (200, 401)
            publish(old, new)
            assert (await status(before), await status(after)) == (200, 200)
            publish(new)
            assert (await status(before), await status(after)) == (401, 200)
            gate.set()
            assert (await reader.until("run_complete"))[-1].data["text"] == "One two three."
            assert (await opened.until("run_complete"))[-1]["text"] == "One two three."
            assert (await opened.ask(type="auth", token=after))["type"] == "auth_success"


async def test_without_any_keys_logins_are_to_be_tried_again(
    tmp_path: Path, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PAUSE_SECONDS", 0.0)
    provider.documents["/keys"] = 503
    text = es256("ES256")
    given = {"jwt_keys": f"{provider.url}/keys", "jwt_audience": AUDIENCE, "jwt_issuer": ISSUER}
    with running_server(tmp_path, **given) as server:
        headers = {"authorization": f"Bearer {text}"}
        url = f"{server.url}/api/v1/threads"
        refused = await asyncio.to_thread(httpx.get, url, headers=headers, trust_env=False)
        assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
        assert refused.headers["retry-after"] == str(keys.RETRY_SECONDS)
        async with socket(f"{server.ws}/ws/chat?token={text}") as opened:
            assert (await opened.frame())["code"] == "UNAVAILABLE"
            for _ in range(3):
                assert (await opened.ask(type="auth", token=text))["code"] == "UNAVAILABLE"
            provider.publish(*ENTRIES)
            assert (await opened.ask(type="auth", token=text))["type"] == "auth_success"
        assert text not in server.log
        assert "could not be read" in server.log


def test_a_missing_audience_is_warned_of(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    Authenticator(settings(file))
    assert not caplog.records
    Authenticator(Settings(jwt_keys=str(file)))
    assert "ANTIPHON_JWT_AUDIENCE" in caplog.text
