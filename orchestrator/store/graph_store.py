"""LangGraph's store on the event log's own database.

What `put` has stored is on the disk when it returns. Nodes use either half, in any thread and on
any event loop. A synchronous call by a coroutine blocks its event loop until the database has
answered. LangChain's own middleware makes such calls: a plain function as `@dynamic_prompt`, say.
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
from antiphon.orchestrator.store.index import NO_VECTORS, Embedders, Index, StoreConfig, Vectors, read_config
from antiphon.orchestrator.store.operations import (
    Get,
    Listing,
    Operation,
    Place,
    Put,
    Search,
    checked,
    method_of,
    to_embed,
)
from antiphon.orchestrator.store.search import Found, Rank, Rows, by_vector, by_words, in_namespace, search

log = logging.getLogger("antiphon.store")

SWEEP_MINUTES = 5.0
"""How often items are deleted whose time is over, unless configured otherwise."""
SWEPT_AT_ONCE = 1000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

ASYNC_EMBEDDER = (
    "The store's embedder is asynchronous, and cannot be waited for on the event loop it needs:"
    " write `await store.aput(...)` and `await store.asearch(...)`."
)

T = TypeVar("T")
Steps = Generator[Future[Any], Any, T]


class GraphStore(BaseStore):
    """LangGraph's store on a database. Make it with `open_graph_store`.

    The base class's methods, `get` to `alist_namespaces`, end in `batch` and `abatch`. What both do
    is written once, as steps: a generator that gives each future it needs, and is sent its result.
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
        """Execute operations: first all that read, then all that write, together.

        Raises `StoreRefused`, `StorageError`, LangGraph's `InvalidNamespaceError`, and what the
        embedder raises.
        """
        given = list(ops)
        self._warn_of_blocking(method_of(given))
        operations = checked(given, self._texts)
        steps = self._steps(operations, self._embedded(*to_embed(operations)))
        with _failures_told():
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
        with _failures_told():
            try:
                work = next(steps)
                while True:
                    work = steps.send(await asyncio.wrap_future(work))
            except StopIteration as end:
                results: list[Result] = end.value
                return results

    async def sweep(self) -> int:
        """Delete all items whose time is over, and return how many. Raises `StorageError`."""
        swept = 0
        while True:
            with _failures_told():
                sweeping = self._items.submit(transactions.sweep_items, self._clock(), SWEPT_AT_ONCE)
                deleted = await asyncio.wrap_future(sweeping)
            swept += deleted
            if deleted < SWEPT_AT_ONCE:
                return swept

    def _warn_of_blocking(self, method: str) -> None:
        """Say once per method that it was called by a coroutine, whose event loop it blocks."""
        if _running_loop() is not None and method not in self._warned:
            self._warned.add(method)
            log.warning(
                "a graph calls store.%s() on the event loop, which blocks it; await store.a%s() does not",
                method,
                method,
            )

    # -- embedding ---------------------------------------------------------------------------

    def _texts(self, value: dict[str, Any], fields: Sequence[str] | None) -> list[str]:
        return self._index.texts(value, fields) if self._index else []

    def _embedded(self, documents: list[str], queries: list[str]) -> Vectors:
        """Embed in this thread, not on the loop: that would need a thread of a pool, whose threads
        may all be waiting for this store."""
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
        """Run on the engine's own loop, to which an embedder's connections belong."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # the loop is closed, and the engine with it
            work.close()
            raise StorageError from None

    # -- the steps ---------------------------------------------------------------------------

    def _steps(self, operations: Sequence[Operation], vectors: Vectors) -> Steps[list[Result]]:
        """Answer all that reads, begin the time of what was read anew, then write."""
        now = self._clock()
        kept = yield from self._kept([op.place for op in operations if isinstance(op, Get)], now)
        results: list[Result] = []
        used: set[Place] = set()
        for op in operations:
            match op:
                case Get():
                    item = kept.get(op.place)
                    results.append(_as_item(item) if item else None)
                    used.update(_to_refresh(op, [item] if item else []))
                case Search():
                    found = yield from self._search(op, vectors, now)
                    results.append([_as_search_item(one) for one in found])
                    used.update(_to_refresh(op, [one.item for one in found]))
                case Listing():
                    results.append((yield from self._namespaces(op, now)))
                case Put():
                    results.append(None)
        if used:
            yield self._items.submit(transactions.refresh_items, sorted(used), now)
        if last := {op.place: op for op in operations if isinstance(op, Put)}:
            yield self._items.submit(transactions.put_items, [self._write(op, vectors) for op in last.values()], now)
        return results

    def _kept(self, places: Sequence[Place], now: int) -> Steps[dict[Place, records.Item]]:
        if not places:
            return {}
        found: list[records.Item] = yield self._items.scan(reads.items_at, places, now)
        return {(item.namespace, item.key): item for item in found}

    def _search(self, op: Search, vectors: Vectors, now: int) -> Steps[list[Found]]:
        rank: Rank | None = None
        embedder = None
        if op.query and self._index:
            rank = by_vector(vectors.queries[op.query])
            embedder = self._index.name
        elif op.query:
            rank = by_words(op.query)

        def fold(rows: Rows) -> list[Found]:
            return search(rows, op.wanted, rank, op.offset, op.limit)

        found: list[Found] = yield self._items.scan(reads.scan_items, op.prefix, now, embedder, fold)
        return found

    def _namespaces(self, op: Listing, now: int) -> Steps[list[Namespace]]:
        found: list[Namespace] = yield self._items.scan(reads.item_namespaces, (), now)
        for path, at_end in op.paths:
            found = [namespace for namespace in found if in_namespace(namespace, path, at_end)]
        if op.depth is not None:
            found = list({namespace[: op.depth] for namespace in found})
        return sorted(found)[op.offset : op.offset + op.limit]

    def _write(self, op: Put, vectors: Vectors) -> ItemWrite:
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
    """A store for as long as the `async with` block lasts.

    `config` is like the `store` of a `langgraph.json`; `api_key` and `base_url` are for `openai:`
    embeddings. Raises `ValueError` for a configuration that cannot be used.
    """
    known = read_config(config)
    async with AsyncExitStack() as closing:
        index = None
        if known.index is not None:
            embedders = Embedders(api_key, base_url, closing)
            made = await asyncio.to_thread(embedders.make, known.index.embed)
            index = Index(known.index, made)
        store = GraphStore(items, known, index, clock)
        minutes = (known.ttl and known.ttl.sweep_interval_minutes) or SWEEP_MINUTES
        sweeping = asyncio.create_task(_sweep_for_ever(store, minutes * 60), name="store sweep")
        try:
            yield store
        finally:
            sweeping.cancel()
            await asyncio.wait([sweeping])


async def _sweep_for_ever(store: GraphStore, seconds: float) -> None:
    while True:
        try:
            if swept := await store.sweep():
                log.info("deleted %d items of the store whose time was over", swept)
        except StorageError:
            log.warning("the store could not be swept, and will be again")
        await asyncio.sleep(seconds)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


@contextmanager
def _failures_told() -> Iterator[None]:
    """Keep details of the database's failures from graphs, which may say them to their users."""
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


def _to_refresh(op: Get | Search, items: Iterable[records.Item]) -> list[Place]:
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


def _as_search_item(found: Found) -> SearchItem:
    return SearchItem(
        namespace=found.item.namespace,
        key=found.item.key,
        value=found.value,
        created_at=_time(found.item.created_at),
        updated_at=_time(found.item.updated_at),
        score=found.score,
    )


def _time(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)
