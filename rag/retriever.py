"""A question in, passages out."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor

from antiphon.rag.stores.base import Store
from antiphon.rag.types import PUBLIC, Hit
from antiphon.rag.words import content_words

QUERY_WORDS = 64
"""Words of a query that are searched for: a very long message must not become a very long query."""
THREADS = 4


class Retriever:
    """Finds passages in one store, in threads of its own: those of the loop may all wait for users' functions."""

    def __init__(self, store: Store, limit: int = 8) -> None:
        self._store = store
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="antiphon-search")

    async def search(self, question: str, access: Collection[str] = (PUBLIC,)) -> list[Hit]:
        """The best passages for a question among those with one of the access labels, best first."""
        words = list(dict.fromkeys(content_words(question)))[:QUERY_WORDS]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._store.search, words, access, self._limit)

    def close(self) -> None:
        """End the threads and close the store."""
        self._threads.shutdown(cancel_futures=True)
        self._store.close()
