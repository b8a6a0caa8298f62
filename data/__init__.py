"""Durable state: the event log, threads, messages, runs and checkpoints.

`open_database(url)` is the way in. Payloads are opaque bytes here: this package knows numbering, fencing and
durability, and nothing about agents, graphs or wire formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.data.database import Database

__all__ = ["BACKENDS", "check_url", "open_database"]

BACKENDS = {"sqlite": "antiphon.data.sqlite:SqliteBackend"}
"""URL scheme -> `module:class`. A new backend is one file and one row."""


def check_url(url: str) -> str:
    """Return the scheme of a database's URL. Raise `ValueError` if there is no backend for it.

    The URL is not quoted, as it may hold a password.
    """
    scheme = url.partition(":")[0]
    hint = "a database's URL looks like sqlite:///chat.db"
    if ":" not in url:
        raise ValueError(f"{url!r} is no URL: {hint}")
    if scheme not in BACKENDS:
        known = ", ".join(sorted(BACKENDS))
        raise ValueError(f"no database backend for {scheme!r}: known schemes are {known}; {hint}")
    if not url.startswith(f"{scheme}:///") or url == f"{scheme}:///":
        raise ValueError(f"the database's URL names no file: {hint}")
    return scheme


async def open_database(url: str, *, beat_seconds: float = 2.0) -> Database:
    """Open the database at `url` (`sqlite:///absolute/or/relative/path.db`).

    `beat_seconds` is how often this process says that it lives: several times within a lease. Raises `ValueError` for a
    scheme nobody registered and `antiphon.data.base.StorageError` when the file cannot be used.
    """
    import importlib

    from antiphon.data.database import Database

    module, _, name = BACKENDS[check_url(url)].partition(":")
    backend = getattr(importlib.import_module(module), name)
    return Database(await backend.open(url), beat_seconds)
