"""Who is asking: a JWT becomes a principal. One algorithm, required claims, nothing else believed."""

from __future__ import annotations

from typing import Any

import jwt
import msgspec

from api.problems import Problem
from api.settings import Settings

LEEWAY_SECONDS = 5
TOKEN_BYTES = 8192
"""Longer tokens are refused unread."""
ID_LIMIT = 255


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `access` are the labels of documents that they may see; `expires_at` is in seconds, None for never."""

    id: str
    email: str | None = None
    name: str | None = None
    access: tuple[str, ...] = ("public",)
    expires_at: float | None = None


LOCAL = Principal(id="local", email="local@localhost", name="Local user")
"""Everybody, where authentication is off (on loopback only)."""


class Authenticator:
    """Checks tokens as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self.required = settings.auth_on
        self._settings = settings

    def principal(self, token: str | None) -> Principal:
        """The caller behind a token (`Bearer ` in front is ignored). Raises `Problem` AUTH_REQUIRED or AUTH_INVALID."""
        if not self.required:
            return LOCAL
        token = (token or "").strip()
        if token[:7].lower() == "bearer ":
            token = token[7:].strip()
        if not token:
            raise Problem("AUTH_REQUIRED", "Authentication is required.")
        return self._decoded(token)

    def _decoded(self, token: str) -> Principal:
        settings = self._settings
        try:
            if len(token) > TOKEN_BYTES:
                raise jwt.InvalidTokenError
            claims: dict[str, Any] = jwt.decode(
                token,
                settings.jwt_secret or "",
                algorithms=[settings.jwt_algorithm],
                audience=settings.jwt_audience,
                issuer=settings.jwt_issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["sub", "exp"], "verify_aud": settings.jwt_audience is not None},
            )
            return _principal(claims)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Problem("AUTH_INVALID", "Invalid token") from None

    def mint(self, user: str, seconds: int, now: int, **claims: Any) -> str:
        """A token for trying out. `now` in seconds since the epoch. Raises `Problem` where auth is off."""
        settings = self._settings
        if not self.required or settings.jwt_secret is None:
            raise Problem("BAD_REQUEST", "Authentication is off: set ANTIPHON_JWT_SECRET first.")
        payload = {"sub": user, "iat": now, "exp": now + seconds, **claims}
        if settings.jwt_audience:
            payload["aud"] = settings.jwt_audience
        if settings.jwt_issuer:
            payload["iss"] = settings.jwt_issuer
        return jwt.encode(payload, settings.jwt_secret, algorithm=settings.jwt_algorithm)


def _principal(claims: dict[str, Any]) -> Principal:
    user = claims["sub"]
    if not isinstance(user, str) or not user.strip() or len(user) > ID_LIMIT:
        raise ValueError("sub")
    labels = claims.get("access", [])
    listed = [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []
    return Principal(
        id=user,
        email=_text(claims.get("email")),
        name=_text(claims.get("name")),
        access=tuple(sorted({"public", *listed})),
        expires_at=float(claims["exp"]),
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
