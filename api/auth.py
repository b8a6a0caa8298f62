"""Authentication: turns a JWT into a principal, by the keys and algorithms of the settings only."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

import jwt

from antiphon.api.keys import FAMILIES, KeySet
from antiphon.api.principal import LOCAL, Principal
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings
from antiphon.data.ids import new_id
from antiphon.orchestrator.clock import now_ms

log = logging.getLogger("antiphon.access")

LEEWAY_SECONDS = 5
"""How long a token is accepted after its `exp`."""
CLOCK_SECONDS = 60
"""How far an issuer's clock may be ahead of this one: the leeway of `iat` and `nbf`."""
TOKEN_BYTES = 8192
"""Longer tokens are refused without being read."""
ID_LIMIT = 255


class Authenticator:
    """Checks and mints tokens by the settings."""

    def __init__(self, settings: Settings) -> None:
        self.required = settings.auth_on
        self._settings = settings
        self._keys = KeySet(settings.jwt_keys) if settings.jwt_keys else None
        if self._keys is not None and settings.jwt_audience is None:
            log.warning("without ANTIPHON_JWT_AUDIENCE, tokens for other applications are accepted")
        self._revoked: dict[tuple[str, str], int] = {}

    def note_revocations(self, revocations: Iterable[tuple[str, str, int]]) -> None:
        """Replace the revocations by the store's current `(kind, value, at)`, `at` in ms."""
        self._revoked = {(kind, value): at for kind, value, at in revocations}

    def check(self, principal: Principal, now: int) -> None:
        """Raise `Problem` AUTH_INVALID if a principal has expired at `now` (ms) or was revoked."""
        if principal.expires_at is not None and now / 1000 > principal.expires_at:
            raise Problem("AUTH_INVALID", "The token has expired.")
        if self._is_revoked(principal):
            raise Problem("AUTH_INVALID", "The token was revoked.")

    def _is_revoked(self, principal: Principal) -> bool:
        if ("jti", principal.token_id or "") in self._revoked:
            return True
        revoked_at = self._revoked.get(("user", principal.id))
        if revoked_at is None:
            return False
        return principal.issued_at is None or principal.issued_at * 1000 <= revoked_at

    async def principal(self, token: str | None) -> Principal:
        """Return the principal of a token. A leading `Bearer ` is ignored.

        Raises `Problem` AUTH_REQUIRED without a token, AUTH_INVALID for a bad one, and UNAVAILABLE
        if the provider's keys cannot be read.
        """
        if not self.required:
            return LOCAL
        token = (token or "").strip()
        if token[:7].lower() == "bearer ":
            token = token[7:].strip()
        if not token:
            raise Problem("AUTH_REQUIRED", "Authentication is required.")
        try:
            principal = _principal(await self._claims(token))
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Problem("AUTH_INVALID", "Invalid token") from None
        self.check(principal, 0)
        return principal

    async def _claims(self, token: str) -> dict[str, Any]:
        """Check a token and return its claims. Raises `PyJWTError` if it is not valid."""
        if len(token) > TOKEN_BYTES:
            raise jwt.InvalidTokenError
        header = jwt.get_unverified_header(token)
        algorithm: Any = header.get("alg")
        for key in await self._fitting(algorithm, header.get("kid")):
            with suppress(jwt.InvalidSignatureError):
                return self._verified(token, key, algorithm)
        raise jwt.InvalidSignatureError

    async def _fitting(self, algorithm: Any, kid: str | None) -> list[Any]:
        """Return the keys that may have signed a token.

        The algorithm decides between the secret and public keys: a public key must never be used
        as a secret, since it is known to all.
        """
        secret = self._settings.jwt_secret
        if algorithm == self._settings.jwt_algorithm and secret is not None:
            return [secret]
        if self._keys is not None and isinstance(algorithm, str) and algorithm in FAMILIES:
            return [public.key for public in await self._keys.fitting(algorithm, kid)]
        return []

    def _verified(self, token: str, key: Any, algorithm: str) -> dict[str, Any]:
        settings = self._settings
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=settings.jwt_audience,
            issuer=settings.jwt_issuer,
            leeway=CLOCK_SECONDS,
            options={
                "require": ["sub", "exp"],
                "verify_aud": settings.jwt_audience is not None,
                "verify_sub": False,  # PyJWT refuses a number
                "enforce_minimum_key_length": algorithm in FAMILIES,
            },
        )
        if int(claims["exp"]) <= now_ms() / 1000 - LEEWAY_SECONDS:
            raise jwt.ExpiredSignatureError
        return claims

    def mint(self, user: str, seconds: int, now: int, **claims: Any) -> str:
        """Return a token for testing, issued at `now` (s) for so many seconds.

        Raises `Problem` BAD_REQUEST if there is no secret.
        """
        settings = self._settings
        if not self.required or settings.jwt_secret is None:
            raise Problem("BAD_REQUEST", "No login by a secret: set ANTIPHON_JWT_SECRET first.")
        payload = {"sub": user, "jti": new_id(), "iat": now, "exp": now + seconds, **claims}
        if settings.jwt_audience:
            payload["aud"] = settings.jwt_audience
        if settings.jwt_issuer:
            payload["iss"] = settings.jwt_issuer
        return jwt.encode(payload, settings.jwt_secret, algorithm=settings.jwt_algorithm)


def _principal(claims: dict[str, Any]) -> Principal:
    user = claims["sub"]
    if isinstance(user, int) and not isinstance(user, bool):
        user = str(user)
    if not isinstance(user, str) or not user.strip() or len(user) > ID_LIMIT:
        raise ValueError("sub")
    labels = claims.get("access", [])
    if not isinstance(labels, list):
        labels = []
    granted = [label for label in labels if isinstance(label, str)]
    return Principal(
        id=user,
        email=_text(claims.get("email")),
        name=_text(claims.get("name")),
        access=tuple(sorted({"public", *granted})),
        expires_at=float(claims["exp"]),
        token_id=_text(claims.get("jti")),
        issued_at=float(claims["iat"]) if "iat" in claims else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
