"""A question in, passages out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from rag.stores.base import Store
from rag.types import PUBLIC, Hit
from rag.words import content_words

QUERY_WORDS = 64
"""Words of a query that are searched for: a very long message must not become a very long query."""


class Retriever:
    """Finds passages in one store."""

    def __init__(self, store: Store, limit: int = 8) -> None:
        self._store = store
        self._limit = limit

    async def search(self, question: str, access: Collection[str] = (PUBLIC,)) -> list[Hit]:
        """The best passages for a question among those with one of the access labels, best first."""
        words = list(dict.fromkeys(content_words(question)))[:QUERY_WORDS]
        return await asyncio.to_thread(self._store.search, words, access, self._limit)
