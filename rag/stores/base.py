"""What every knowledge store offers. Calls block; the retriever moves them off the event loop."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from antiphon.rag.types import Chunk, Document, Hit


class Store(Protocol):
    """Chunks of documents, searchable by words, filtered by access inside the query."""

    def put(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Store a document's chunks in place of what was stored for its uri before."""

    def search(self, words: Sequence[str], access: Collection[str], limit: int) -> list[Hit]:
        """The best chunks for some words among those whose access label is in `access`, best first."""

    def sources(self) -> dict[str, str]:
        """Where documents were read, by uri; without those of which that is not known."""

    def documents(self) -> int:
        """How many documents there are."""

    def clear(self) -> None:
        """Forget all documents."""

    def close(self) -> None:
        """Release everything. Idempotent."""
