"""Who is asking. Pure; `auth.py` makes one from a token."""

from __future__ import annotations

import msgspec


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller. `access` are the labels of documents that they may see.

    `expires_at` is in seconds since the epoch, None for never.
    """

    id: str
    email: str | None = None
    name: str | None = None
    access: tuple[str, ...] = ("public",)
    expires_at: float | None = None
    token_id: str | None = None
    issued_at: float | None = None


LOCAL = Principal(id="local", email="local@localhost", name="Local user")
"""Every caller if authentication is off (on loopback only)."""
