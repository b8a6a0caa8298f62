"""Knowledge: documents in, ranked passages out. Knows nothing about runs, agents or wires.

`open_store(url)` is the way in; `antiphon.rag.ingest` fills a store, `antiphon.rag.retriever` asks it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from antiphon.rag.stores.base import Store

__all__ = ["STORES", "open_store"]

STORES = {"sqlite": "antiphon.rag.stores.sqlite:SqliteStore"}
"""URL scheme -> `module:class`. A new store is one file and one row."""


def open_store(url: str) -> Store:
    """Open the store at `url` (`sqlite:///path`). Raises `ValueError` for a scheme nobody registered."""
    import importlib

    scheme = url.partition(":")[0]
    if scheme not in STORES:
        raise ValueError(f"no knowledge store for {scheme!r}: known schemes are {', '.join(sorted(STORES))}")
    module, _, name = STORES[scheme].partition(":")
    store: Store = getattr(importlib.import_module(module), name)(url)
    return store
