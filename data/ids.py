"""Identifiers: UUIDv7, which sort by time, or UUIDs that are derived from texts."""

from __future__ import annotations

import json
import uuid

import uuid_utils

_NAMESPACE = uuid.UUID("5d1f1b1e-6a55-5c0e-9c3b-0a3d5f2c7e10")


def new_id() -> str:
    """Return a new UUIDv7 in its usual text form."""
    return str(uuid_utils.uuid7())


def same_id(*parts: str) -> str:
    """Return a UUID that is the same for the same texts, and for no others."""
    return str(uuid.uuid5(_NAMESPACE, json.dumps(parts)))
