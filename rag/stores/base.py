"""What every knowledge store offers. Calls block; the retriever moves them off the event loop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from antiphon.rag.types import Chunk, Document, ScoredChunk


class Store(Protocol):
    """Chunks of documents, searchable by words, filtered by access inside the query.

    It is made by its class, called with a URL. Several threads may call it at once.
    """

    def put(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Store a document's chunks in place of earlier ones of its uri; all or none."""

    def search(
        self, words: Sequence[str], access: Collection[str], limit: int
    ) -> list[ScoredChunk]:
        """Return the best chunks for some words whose access label is in `access`, best first."""

    def sources(self) -> dict[str, str]:
        """Return the files that documents were read from, by uri, as far as they are known."""

    def documents(self) -> int:
        """Return the number of documents."""

    def clear(self) -> None:
        """Delete all documents."""

    def close(self) -> None:
        """Release everything. Idempotent."""
