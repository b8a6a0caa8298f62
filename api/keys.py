"""The public keys of an identity provider: a JSON Web Key Set, by URL or from a file.

Keys are cached and looked up by the `kid` of a token. Providers rotate them without notice, so an
unknown `kid` makes the set be read again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, ProxyHandler, Request, build_opener

import jwt
import msgspec

from antiphon.api.problems import Problem
from antiphon.api.settings import is_key_url

log = logging.getLogger("antiphon.access")

REFRESH_SECONDS = 300.0
"""Age at which the keys of a URL are fetched again, so that withdrawn keys disappear."""
PAUSE_SECONDS = 1.0
"""Minimum time between two readings, however many tokens with unknown keys arrive."""
FETCH_SECONDS = 5.0
SIZE = 1024 * 1024
"""Maximum size of a document, in bytes."""
RETRY_SECONDS = 5
"""The `Retry-After` for clients if there are no keys at all."""

FAMILIES = {
    "RS256": ("RSA",),
    "RS384": ("RSA",),
    "RS512": ("RSA",),
    "PS256": ("RSA",),
    "PS384": ("RSA",),
    "PS512": ("RSA",),
    "ES256": ("P-256",),
    "ES384": ("P-384",),
    "ES512": ("P-521",),
    "EdDSA": ("Ed25519", "Ed448"),
}
"""Maps an algorithm to the type or the curves of its keys. None of them is symmetric."""
_PUBLIC = {"kty", "crv", "n", "e", "x", "y"}
_FAILURES = (OSError, HTTPException, ValueError, RecursionError)


class PublicKey(NamedTuple):
    """A key of the set. `family` is `RSA` or a curve; `alg` is its only algorithm, or None."""

    kid: str | None
    family: str
    alg: str | None
    key: Any

    def fits(self, algorithm: str) -> bool:
        """Report whether tokens of an algorithm can be checked with this key."""
        return self.family in FAMILIES[algorithm] and self.alg in (None, algorithm)


class KeySet:
    """The keys of one provider, kept up to date while they are used. Belongs to one event loop."""

    def __init__(self, source: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._keys: list[PublicKey] = []
        self._read_at = float("-inf")
        self._stamp: tuple[int, ...] | None = None
        self._reading: asyncio.Task[None] | None = None
        # Not the event loop's own threads: functions of graphs may hold all of them.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="antiphon-keys")

    async def fitting(self, algorithm: str, kid: str | None) -> list[PublicKey]:
        """Return the keys for a token: the one of its `kid`, or without one all of its algorithm.

        An empty list means that the provider does not know the key. Raises `Problem` UNAVAILABLE if
        no keys could be read yet.
        """
        arrived = self._clock()
        if self._is_due():
            await self._refresh()
        # A reading that began earlier may lack a key that was published for this very token.
        while not (keys := self._select(algorithm, kid)) and self._read_at < arrived:
            await self._refresh()
        if not self._keys:
            message = "Logins cannot be checked right now. Please try again."
            raise Problem("UNAVAILABLE", message, retry_after=RETRY_SECONDS)
        return keys

    def _select(self, algorithm: str, kid: str | None) -> list[PublicKey]:
        return [key for key in self._keys if key.fits(algorithm) and kid in (None, key.kid)]

    def _is_due(self) -> bool:
        if is_key_url(self._source):
            return self._clock() - self._read_at >= REFRESH_SECONDS
        return self._read_at == float("-inf") or _stamp(self._source) != self._stamp

    async def _refresh(self) -> None:
        """Read the set, or join the reading under way. It continues if a caller is cancelled."""
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read())
        await asyncio.shield(self._reading)

    async def _read(self) -> None:
        """Replace the keys, or keep the old ones and log a warning if they cannot be read."""
        await asyncio.sleep(max(0.0, self._read_at + PAUSE_SECONDS - self._clock()))
        self._read_at = self._clock()
        self._stamp = None if is_key_url(self._source) else _stamp(self._source)
        loop = asyncio.get_running_loop()
        try:
            self._keys = await loop.run_in_executor(self._thread, read_keys, self._source)
        except _FAILURES as error:
            log.warning(
                "the keys of logins could not be read from %s (%s: %s); %d older ones stay",
                self._source,
                type(error).__name__,
                error,
                len(self._keys),
            )


def _stamp(path: str) -> tuple[int, ...] | None:
    """Return a value that changes if a file is written or replaced; None if there is no file."""
    try:
        stat = Path(path).stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def read_keys(source: str) -> list[PublicKey]:
    """Read a key set, or follow the OpenID discovery document that names one.

    Raises `OSError`, `HTTPException`, `ValueError` or `RecursionError` if there is no key set.
    """
    document = _document(source)
    if "keys" not in document and isinstance(url := document.get("jwks_uri"), str):
        document = _document(_checked(url))
    entries = document.get("keys")
    if not isinstance(entries, list):
        raise ValueError("this is no JSON Web Key Set")
    keys = [_public_key(entry) for entry in entries if isinstance(entry, dict)]
    return [key for key in keys if key is not None]


def _document(source: str) -> dict[str, Any]:
    data = _fetched(source) if is_key_url(source) else Path(source).read_bytes()
    if len(data) > SIZE:
        raise ValueError(f"the document has more than {SIZE} bytes")
    document = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"))
    if not isinstance(document, dict):
        raise ValueError("the document is no JSON object")
    return document


def _public_key(entry: dict[str, Any]) -> PublicKey | None:
    """Return a key of a set; None if it cannot check signatures of a known algorithm."""
    kid, alg = entry.get("kid"), entry.get("alg")
    family = "RSA" if entry.get("kty") == "RSA" else entry.get("crv")
    algorithms = [name for name, families in FAMILIES.items() if family in families]
    if entry.get("use") not in (None, "sig") or not algorithms:
        return None
    try:
        public = {name: value for name, value in entry.items() if name in _PUBLIC}
        key = jwt.PyJWK(public, algorithms[0]).key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None  # other keys of the set may be valid
    return PublicKey(
        kid=kid if isinstance(kid, str) else None,
        family=str(family),
        alg=alg if isinstance(alg, str) else None,
        key=key,
    )


# -------------------------------------------------------------------------------------------- HTTP


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, except to addresses that the settings would refuse."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """Return the next request. Raises `ValueError` for a refused address."""
        return super().redirect_request(req, fp, code, msg, headers, _checked(newurl))


def _checked(url: str) -> str:
    if not is_key_url(url):
        raise ValueError(f"{url} is neither https nor on this machine")
    return url


def _fetched(url: str) -> bytes:
    """Return the body of a document, or its beginning if it is too large."""
    # Some providers' firewalls refuse Python's default User-Agent.
    headers = {"User-Agent": "antiphon", "Accept": "application/json"}
    request = Request(url, headers=headers)  # noqa: S310 - the settings and redirects are checked
    proxies = [ProxyHandler({})] if urlsplit(url).scheme == "http" else []
    deadline = time.monotonic() + FETCH_SECONDS
    body = b""
    with build_opener(_Redirects, *proxies).open(request, timeout=FETCH_SECONDS) as response:
        while len(body) <= SIZE and (part := response.read1(SIZE)):
            body += part
            if time.monotonic() > deadline:
                raise TimeoutError("the document did not arrive in time")
    return body
