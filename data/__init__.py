"""Durable state: the event log, threads, messages, runs and checkpoints.

`open_database(url)` opens a database. Payloads are opaque bytes here: this package knows about
numbering, fencing and durability, and nothing about agents, graphs or wire formats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.data.database import Database

__all__ = ["BACKENDS", "open_database"]

BACKENDS = {
    "sqlite": "antiphon.data.sqlite:SqliteBackend",
    "memory": "antiphon.data.memory:MemoryBackend",
}
"""URL scheme -> `module:class`. A new backend is one file and one row."""


async def open_database(url: str, *, beat_seconds: float = 2.0) -> Database:
    """Open the database at `url`: `sqlite:///path.db`, relative or absolute, or `memory://`.

    `beat_seconds` is the time between this process's signs of life, a fraction of a lease. Raises
    `ValueError` for a URL that is none or whose scheme is not in `BACKENDS`, and
    `antiphon.data.errors.StorageError` if the database cannot be used.
    """
    import importlib

    from antiphon.data.database import Database

    scheme = url.partition(":")[0]
    if scheme not in BACKENDS:
        known = ", ".join(sorted(BACKENDS))
        # The URL itself is not quoted: it may hold a password.
        raise ValueError(
            f"no database backend for {scheme!r}: known are {known}, as in sqlite:///chat.db"
        )
    module, _, name = BACKENDS[scheme].partition(":")
    backend = getattr(importlib.import_module(module), name)
    return Database(await backend.open(url), beat_seconds)
