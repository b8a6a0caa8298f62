"""A knowledge store that ranks by counting words: a plain dictionary, for one process."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from antiphon.rag.types import Chunk, Document, ScoredChunk
from antiphon.rag.words import words as words_of


class ToyStore:
    """`antiphon.rag.stores.base.Store` at `toy://`."""

    def __init__(self, url: str) -> None:
        self._documents: dict[str, tuple[Document, Sequence[Chunk]]] = {}

    def put(self, document: Document, chunks: Sequence[Chunk]) -> None:
        self._documents[document.uri] = (document, chunks)

    def search(
        self, words: Sequence[str], access: Collection[str], limit: int
    ) -> list[ScoredChunk]:
        hits = []
        for _, chunks in self._documents.values():
            for chunk in chunks:
                score = len(set(words) & set(words_of(chunk.text)))
                if score and chunk.access in access:
                    hits.append(ScoredChunk(chunk=chunk, score=score))
        return sorted(hits, key=lambda hit: (-hit.score, hit.id))[:limit]

    def sources(self) -> dict[str, str]:
        documents = [document for document, _ in self._documents.values()]
        return {document.uri: document.source for document in documents if document.source}

    def documents(self) -> int:
        return len(self._documents)

    def clear(self) -> None:
        self._documents.clear()

    def close(self) -> None:
        self.clear()
