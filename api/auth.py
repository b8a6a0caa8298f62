"""Who is asking: a JWT becomes a principal. One algorithm, required claims, nothing else believed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jwt

from antiphon.api.principal import LOCAL, Principal
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings
from antiphon.data.ids import new_id

LEEWAY_SECONDS = 5
TOKEN_BYTES = 8192
"""Longer tokens are refused unread."""
ID_LIMIT = 255


class Authenticator:
    """Checks tokens as the settings say."""

    def __init__(self, settings: Settings) -> None:
        self.required = settings.auth_on
        self._settings = settings
        self._revoked: dict[tuple[str, str], int] = {}

    def note_revocations(self, revocations: Iterable[tuple[str, str, int]]) -> None:
        """Take the store's present list of `(kind, value, at)`."""
        self._revoked = {(kind, value): at for kind, value, at in revocations}

    def check(self, principal: Principal, now: int) -> None:
        """Raise `Problem` AUTH_INVALID where a principal's time is over or its token was revoked; `now` in ms."""
        if principal.expires_at is not None and now / 1000 > principal.expires_at:
            raise Problem("AUTH_INVALID", "The token has expired.")
        before = self._revoked.get(("user", principal.id))
        old = before is not None and (principal.issued_at is None or principal.issued_at * 1000 <= before)
        if old or ("jti", principal.token_id or "") in self._revoked:
            raise Problem("AUTH_INVALID", "The token was revoked.")

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
            principal = _principal(claims)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Problem("AUTH_INVALID", "Invalid token") from None
        self.check(principal, 0)
        return principal

    def mint(self, user: str, seconds: int, now: int, **claims: Any) -> str:
        """A token for trying out. `now` in seconds since the epoch. Raises `Problem` where auth is off."""
        settings = self._settings
        if not self.required or settings.jwt_secret is None:
            raise Problem("BAD_REQUEST", "Authentication is off: set ANTIPHON_JWT_SECRET first.")
        payload = {"sub": user, "jti": new_id(), "iat": now, "exp": now + seconds, **claims}
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
        token_id=_text(claims.get("jti")),
        issued_at=float(claims["iat"]) if "iat" in claims else None,
    )


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
