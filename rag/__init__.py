"""Knowledge: documents in, ranked passages out. Knows nothing about runs, agents or protocols.

`open_store(url)` opens a store; `antiphon.rag.ingest` fills it and `antiphon.rag.retriever`
searches it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.rag.stores.base import Store

__all__ = ["STORES", "knowledge_url", "open_store"]

STORES = {
    "sqlite": "antiphon.rag.stores.sqlite:SqliteStore",
    "memory": "antiphon.rag.stores.sqlite:SqliteStore",
}
"""URL scheme -> `module:class`. A new store is one file and one row."""


def open_store(url: str) -> Store:
    """Open the store at `url`: `sqlite:///path`, or `memory://` for one that ends with `close`.

    Raises `ValueError` for a scheme that is not in `STORES`.
    """
    import importlib

    scheme = url.partition(":")[0]
    if scheme not in STORES:
        known = ", ".join(sorted(STORES))
        raise ValueError(f"no knowledge store for {scheme!r}: known schemes are {known}")
    module, _, name = STORES[scheme].partition(":")
    store: Store = getattr(importlib.import_module(module), name)(url)
    return store


def knowledge_url(database: str) -> str:
    """Return the URL of the store that belongs to a database.

    For `sqlite:///chat.db` that is the file `chat-knowledge.db` beside it, so that indexing never
    delays the database; for `memory://` it is in memory. Raises `ValueError` for other URLs.
    """
    scheme = database.partition(":")[0]
    if scheme == "memory":
        return "memory://"
    if scheme != "sqlite":
        raise ValueError(f"no knowledge store belongs to a database of {scheme!r}")
    file = database.removeprefix("sqlite:///")
    if file in ("", database):
        raise ValueError("the database's URL names no file: it looks like sqlite:///chat.db")
    path = Path(file)
    return f"sqlite:///{path.with_name(f'{path.stem}-knowledge.db')}"
