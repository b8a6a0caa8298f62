"""LangGraph's store on the event log's own database.

`put` returns after the value is on the disk. Nodes may use the synchronous or the asynchronous
methods, in any thread and on any event loop. A synchronous call in a coroutine blocks its event
loop until the database has answered. LangChain's own middleware makes such calls, for example for
a plain function as `@dynamic_prompt`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import (
    AsyncIterator,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent.futures import Future
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from langgraph.store.base import BaseStore, Item, Op, Result, SearchItem, TTLConfig

from antiphon.data import reads, records, transactions
from antiphon.data.database import Database
from antiphon.data.errors import StorageError
from antiphon.data.records import ItemWrite, Namespace
from antiphon.orchestrator.clock import Clock, now_ms
from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.store.index import (
    NO_VECTORS,
    Embedders,
    Index,
    StoreConfig,
    Vectors,
    read_config,
)
from antiphon.orchestrator.store.operations import (
    FindItems,
    GetItem,
    ListNamespaces,
    Operation,
    Place,
    PutItem,
    checked,
    method_of,
    to_embed,
)
from antiphon.orchestrator.store.search import (
    Match,
    Rank,
    Rows,
    by_vector,
    by_words,
    in_namespace,
    search,
)

log = logging.getLogger("antiphon.store")

SWEEP_MINUTES = 5.0
"""The default interval in which expired items are deleted."""
SWEPT_AT_ONCE = 1000
"""Items that one transaction deletes."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ASYNC_EMBEDDER = (
    "The store's embedder is asynchronous, and cannot be waited for on the event loop it needs:"
    " write `await store.aput(...)` and `await store.asearch(...)`."
)

T = TypeVar("T")
Steps = Generator[Future[Any], Any, T]


class GraphStore(BaseStore):
    """LangGraph's store on a database. Make it with `open_graph_store`.

    The base class's methods, `get` to `alist_namespaces`, call `batch` or `abatch`. Both execute
    the same steps: a generator that yields each future it needs, and is sent its result.
    """

    supports_ttl = True

    def __init__(
        self,
        items: Database,
        config: StoreConfig,
        index: Index | None = None,
        clock: Clock = now_ms,
    ) -> None:
        self._items = items
        self._index = index
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._warned: set[str] = set()
        self.ttl_config = _ttl_config(config)

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Execute operations: first the reads, then all writes in one transaction.

        Raises `StoreRefused`, `StorageError`, LangGraph's `InvalidNamespaceError`, and what the
        embedder raises.
        """
        requested = list(ops)
        self._warn_of_blocking(method_of(requested))
        operations = checked(requested, self._texts)
        steps = self._steps(operations, self._embedded(*to_embed(operations)))
        with _failures_hidden():
            try:
                work = next(steps)
                while True:
                    work = steps.send(work.result())
            except StopIteration as end:
                results: list[Result] = end.value
                return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Like `batch`, without blocking the event loop."""
        operations = checked(list(ops), self._texts)
        steps = self._steps(operations, await self._aembedded(*to_embed(operations)))
        with _failures_hidden():
            try:
                work = next(steps)
                while True:
                    work = steps.send(await asyncio.wrap_future(work))
            except StopIteration as end:
                results: list[Result] = end.value
                return results

    async def sweep(self) -> int:
        """Delete all expired items and return how many. Raises `StorageError`."""
        swept = 0
        while True:
            with _failures_hidden():
                sweeping = self._items.submit(
                    transactions.sweep_items, self._clock(), SWEPT_AT_ONCE
                )
                deleted = await asyncio.wrap_future(sweeping)
            swept += deleted
            if deleted < SWEPT_AT_ONCE:
                return swept

    def _warn_of_blocking(self, method: str) -> None:
        """Log, once per method, that a call blocks the event loop of its coroutine."""
        if _running_loop() is not None and method not in self._warned:
            self._warned.add(method)
            log.warning(
                "a graph calls store.%s() on the event loop, which blocks it;"
                " await store.a%s() does not",
                *(method, method),
            )

    # -- embedding ---------------------------------------------------------------------------

    def _texts(self, value: dict[str, Any], fields: Sequence[str] | None) -> list[str]:
        return self._index.texts(value, fields) if self._index else []

    def _embedded(self, documents: list[str], queries: list[str]) -> Vectors:
        """Embed in this thread.

        Embedding on the loop would need a thread of a pool, and all threads of the pool may be
        waiting for this store.
        """
        if self._index is None or not (documents or queries):
            return NO_VECTORS
        if not self._index.only_async:
            return self._index.embed(documents, queries)
        if _running_loop() is self._loop:
            raise StoreRefused(ASYNC_EMBEDDER)
        return self._on_loop(self._index.aembed(documents, queries)).result()

    async def _aembedded(self, documents: list[str], queries: list[str]) -> Vectors:
        if self._index is None or not (documents or queries):
            return NO_VECTORS
        embedding = self._index.aembed(documents, queries)
        if asyncio.get_running_loop() is self._loop:
            return await embedding
        return await asyncio.wrap_future(self._on_loop(embedding))

    def _on_loop(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run work on the engine's own loop, which an embedder's connections belong to."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop and the engine are closed
            work.close()
            raise StorageError from None

    # -- the steps ---------------------------------------------------------------------------

    def _steps(self, operations: Sequence[Operation], vectors: Vectors) -> Steps[list[Result]]:
        """Execute the reads, restart the time to live of what was read, then write."""
        now = self._clock()
        kept = yield from self._kept(
            [op.place for op in operations if isinstance(op, GetItem)], now
        )
        results: list[Result] = []
        used: set[Place] = set()
        for op in operations:
            match op:
                case GetItem():
                    item = kept.get(op.place)
                    results.append(_as_item(item) if item else None)
                    used.update(_to_refresh(op, [item] if item else []))
                case FindItems():
                    matches = yield from self._find(op, vectors, now)
                    results.append([_as_search_item(match) for match in matches])
                    used.update(_to_refresh(op, [match.item for match in matches]))
                case ListNamespaces():
                    results.append((yield from self._namespaces(op, now)))
                case PutItem():
                    results.append(None)
        if used:
            yield self._items.submit(transactions.refresh_items, sorted(used), now)
        last = {op.place: op for op in operations if isinstance(op, PutItem)}
        if last:
            writes = [self._write(op, vectors) for op in last.values()]
            yield self._items.submit(transactions.put_items, writes, now)
        return results

    def _kept(self, places: Sequence[Place], now: int) -> Steps[dict[Place, records.Item]]:
        if not places:
            return {}
        items: list[records.Item] = yield self._items.scan(reads.items_at, places, now)
        return {(item.namespace, item.key): item for item in items}

    def _find(self, op: FindItems, vectors: Vectors, now: int) -> Steps[list[Match]]:
        rank: Rank | None = None
        embedder = None
        if op.query and self._index:
            rank = by_vector(vectors.queries[op.query])
            embedder = self._index.name
        elif op.query:
            rank = by_words(op.query)

        def fold(rows: Rows) -> list[Match]:
            return search(rows, op.wanted, rank, op.offset, op.limit)

        matches: list[Match] = yield self._items.scan(
            reads.scan_items, op.prefix, now, embedder, fold
        )
        return matches

    def _namespaces(self, op: ListNamespaces, now: int) -> Steps[list[Namespace]]:
        names: list[Namespace] = yield self._items.scan(reads.item_namespaces, (), now)
        for path, at_end in op.paths:
            names = [name for name in names if in_namespace(name, path, at_end)]
        if op.depth is not None:
            names = list({name[: op.depth] for name in names})
        return sorted(names)[op.offset : op.offset + op.limit]

    def _write(self, op: PutItem, vectors: Vectors) -> ItemWrite:
        namespace, key = op.place
        packed = self._index.packed(op.texts, vectors) if self._index else None
        return ItemWrite(
            namespace=namespace,
            key=key,
            value=op.value,
            ttl=op.ttl,
            vectors=packed,
            embedder=self._index.name if self._index and packed else None,
        )


@asynccontextmanager
async def open_graph_store(
    items: Database,
    config: Mapping[str, Any] | None = None,
    *,
    clock: Clock = now_ms,
    api_key: str | None = None,
    base_url: str | None = None,
) -> AsyncIterator[GraphStore]:
    """Open a store until the `async with` block ends.

    `config` is the `store` of a `langgraph.json`; `api_key` and `base_url` are for `openai:`
    embeddings. Raises `ValueError` for a configuration that cannot be used.
    """
    checked_config = read_config(config)
    async with AsyncExitStack() as closing:
        index = None
        if checked_config.index is not None:
            embedders = Embedders(api_key, base_url, closing)
            embeddings = await asyncio.to_thread(embedders.make, checked_config.index.embed)
            index = Index(checked_config.index, embeddings)
        store = GraphStore(items, checked_config, index, clock)
        ttl = checked_config.ttl
        minutes = (ttl and ttl.sweep_interval_minutes) or SWEEP_MINUTES
        sweeping = asyncio.create_task(_sweep_forever(store, minutes * 60), name="store sweep")
        try:
            yield store
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])


async def _sweep_forever(store: GraphStore, seconds: float) -> None:
    while True:
        try:
            if swept := await store.sweep():
                log.info("deleted %d expired items of the store", swept)
        except StorageError:
            log.warning("the store could not be swept; trying again later")
        await asyncio.sleep(seconds)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@contextmanager
def _failures_hidden() -> Iterator[None]:
    """Log details of the database's failures and hide them from graphs, which may show them."""
    try:
        yield
    except StorageError as error:
        log.exception("the graphs' store failed")
        raise StorageError from error


def _ttl_config(config: StoreConfig) -> TTLConfig | None:
    if config.ttl is None:
        return None
    return {
        "default_ttl": config.ttl.default_ttl,
        "refresh_on_read": config.ttl.refresh_on_read,
    }


def _to_refresh(op: GetItem | FindItems, items: Iterable[records.Item]) -> list[Place]:
    kept = (item for item in items if op.refresh and item.ttl is not None)
    return [(item.namespace, item.key) for item in kept]


def _as_item(item: records.Item) -> Item:
    return Item(
        value=msgspec.json.decode(item.value),
        key=item.key,
        namespace=item.namespace,
        created_at=_time(item.created_at),
        updated_at=_time(item.updated_at),
    )


def _as_search_item(match: Match) -> SearchItem:
    return SearchItem(
        namespace=match.item.namespace,
        key=match.item.key,
        value=match.value,
        created_at=_time(match.item.created_at),
        updated_at=_time(match.item.updated_at),
        score=match.score,
    )


def _time(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)
