"""Finds the passages of a store that answer a question."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from antiphon.rag.stores.base import Store
from antiphon.rag.types import PUBLIC, ScoredChunk
from antiphon.rag.words import content_words

QUERY_WORDS = 64
"""Words of a query at most, since a message may be very long."""
THREADS = 4


class Retriever:
    """Searches one store, in threads of its own, as users' functions may fill those of the loop."""

    def __init__(self, store: Store, limit: int = 8) -> None:
        self._store = store
        self._limit = limit
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="antiphon-search")

    async def search(self, question: str, access: Collection[str] = (PUBLIC,)) -> list[ScoredChunk]:
        """Return the best passages for a question with one of the access labels, best first."""
        words = list(dict.fromkeys(content_words(question)))[:QUERY_WORDS]
        loop = asyncio.get_running_loop()
        search = partial(self._store.search, words, access, self._limit)
        return await loop.run_in_executor(self._threads, search)

    def close(self) -> None:
        """End the threads and close the store."""
        self._threads.shutdown(cancel_futures=True)
        self._store.close()
