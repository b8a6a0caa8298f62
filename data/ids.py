"""Identifiers: UUIDv7, so that they sort by time."""

from __future__ import annotations

import uuid_utils


def new_id() -> str:
    """A new UUIDv7 in its usual text form."""
    return str(uuid_utils.uuid7())
