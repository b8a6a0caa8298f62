"""The default backend: one SQLite file, one writing thread, readers on query-only connections of their own.

WAL with `synchronous=FULL`: what was committed survives a crash of the process and of the machine. Writing goes
through `writer.py`; ordinary reads go through SQLAlchemy on `aiosqlite`. No session lives longer than one query.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from sqlalchemy import (
    URL,
    ColumnElement,
    FromClause,
    Select,
    and_,
    case,
    create_engine,
    event,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    tuple_,
)
from sqlalchemy import Engine as SqlEngine
from sqlalchemy import Row as SqlRow
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from antiphon.data import schema, transactions
from antiphon.data.base import Watch
from antiphon.data.errors import StorageError
from antiphon.data.hints import Hints
from antiphon.data.records import (
    ACTIVE,
    Acceptance,
    Accepted,
    Checkpoint,
    CheckpointWrite,
    Fence,
    Flow,
    GraphState,
    Item,
    ItemWrite,
    Message,
    Namespace,
    NewEvent,
    Row,
    Run,
    RunStatus,
    StoredCheckpoint,
    Thread,
)
from antiphon.data.tail import Tail
from antiphon.data.transactions import Writes
from antiphon.data.workers import WorkerLock, boot_id, exclusive
from antiphon.data.writer import Writer

BUSY_MS = 10_000
"""How long a statement waits for another process's transaction."""
SCANNED_ROWS = 100
"""How many rows of a scan are fetched at once."""
SCANNERS = 4
"""How many reads of stored items are under way at once; others wait, and hold up nothing else."""
BLOCKED_SECONDS = 1.0
"""How long taking over may be blocked by the very worker whose lease is over, before that one is killed."""

R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")
Place = tuple[Namespace, str]


class SqliteDatabase:
    """`antiphon.data.base.Database` on one SQLite file."""

    def __init__(self, path: Path, lock: WorkerLock, beat_seconds: float) -> None:
        self.path = path
        self._lock = lock
        self._boot_id = boot_id()
        self._tail = Tail()
        self._hints = Hints()
        self._reader = _reading_engine(path)
        self._scanned = _scanned_engine(path)
        self._scanners = ThreadPoolExecutor(SCANNERS, thread_name_prefix="antiphon-scan")
        self._scans: set[Future[Any]] = set()
        self._writer = Writer(
            connect=lambda: _writing_connection(path),
            on_commit=self._committed,
            on_foreign_commit=self._foreign_commit,
            beat=lambda tx: transactions.heartbeat(tx, lock.id, self._boot_id, _monotonic_ms()),
            beat_seconds=beat_seconds,
        )

    @classmethod
    async def open(cls, url: str, beat_seconds: float = 2.0) -> SqliteDatabase:
        """Open or create the file of `sqlite:///path`. Raises `StorageError`."""
        path = _path_of(url)
        try:
            return cls(path, await asyncio.to_thread(_set_up, path), beat_seconds)
        except (OSError, SQLAlchemyError, sqlite3.Error) as error:
            raise StorageError(f"cannot open {path}: {error}") from error

    # -- the log ------------------------------------------------------------------------------------------------

    async def accept(self, acceptance: Acceptance) -> Accepted:
        accepted: Accepted = await self._writer.submit(lambda tx: transactions.accept(tx, acceptance))
        return accepted

    async def claim(self, run_id: str, worker: str, *, held_by: str | None = None) -> Run | None:
        claimed = self._writer.submit(lambda tx: transactions.claim(tx, run_id, worker, held_by))
        if held_by is not None:
            # a worker that was stopped inside a transaction blocks the file for everybody, and for ever
            _, blocked = await asyncio.wait([claimed], timeout=BLOCKED_SECONDS)
            if blocked:
                self._lock.end(held_by)  # not in a thread of the loop's pool, which users' functions may fill
        run: Run | None = await claimed
        return run

    async def append(
        self,
        fence: Fence,
        expected: int,
        events: Sequence[NewEvent],
        writes: Writes = (),
        completed: bool = False,
    ) -> int:
        return (
            await self._writer.submit(lambda tx: transactions.append(tx, fence, expected, events, writes, completed))
            or 0
        )

    async def put_checkpoint(
        self, fence: Fence, expected: int, events: Sequence[NewEvent], checkpoint: Checkpoint
    ) -> int:
        return (
            await self._writer.submit(lambda tx: transactions.put_checkpoint(tx, fence, expected, events, checkpoint))
            or 0
        )

    async def finish(  # noqa: PLR0913 - all that one commit stores
        self,
        fence: Fence,
        expected: int,
        events: Sequence[NewEvent],
        *,
        status: RunStatus,
        message: Message | None,
        result: bytes,
        tokens: int = 0,
        state: bytes | None = None,
        graph_state: GraphState | None = None,
    ) -> str | None:
        ending = (status, message, result, tokens, state, graph_state)
        successor: str | None = await self._writer.submit(
            lambda tx: transactions.finish(tx, fence, expected, events, *ending)
        )
        return successor

    async def pause(
        self,
        fence: Fence,
        expected: int,
        events: Sequence[NewEvent],
        message: Message | None = None,
        writes: Writes = (),
    ) -> None:
        await self._writer.submit(lambda tx: transactions.pause(tx, fence, expected, events, message, writes))

    async def answer(
        self,
        run_id: str,
        worker: str,
        events: Sequence[NewEvent],
        message: Message,
        reply_id: str,
        idempotency: tuple[str, str, bytes] | None = None,
    ) -> Run | None:
        run: Run | None = await self._writer.submit(
            lambda tx: transactions.answer(tx, run_id, worker, events, message, reply_id, idempotency)
        )
        return run

    async def repeated(self, user_id: str, key: str, digest: bytes) -> Run | None:
        run: Run | None = await self._writer.submit(lambda tx: transactions.repeated(tx, user_id, key, digest))
        return run

    async def cancel(self, run_id: str, by: str, events: Sequence[NewEvent], result: bytes) -> Run:
        run: Run = await self._writer.submit(lambda tx: transactions.cancel(tx, run_id, by, events, result))
        return run

    async def hand_back(self, fence: Fence, *, charged: bool) -> None:
        await self._writer.submit(lambda tx: transactions.hand_back(tx, fence, charged))

    async def read(self, thread_id: str, after: int, limit: int) -> list[Row]:
        rows = self._tail.read(thread_id, after, limit)
        if rows is not None:
            return rows
        table = schema.events
        query = (
            select(table).where(table.c.thread_id == thread_id, table.c.seq > after).order_by(table.c.seq).limit(limit)
        )
        return await self._all(Row, query)

    def watch(self, thread_id: str) -> AbstractContextManager[Watch]:
        return self._hints.watch(thread_id)

    def wake(self) -> None:
        self._hints.notify_all()

    def _committed(self, rows: Sequence[Row]) -> None:
        self._tail.extend(rows)
        self._hints.notify({row.thread_id for row in rows})

    def _foreign_commit(self) -> None:
        self._tail.clear()
        self._hints.notify_all()

    # -- checkpoints --------------------------------------------------------------------------------------------

    async def checkpoint(self, run_id: str, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        table = schema.checkpoints
        query = select(table).where(table.c.run_id == run_id, table.c.namespace == namespace)
        if checkpoint_id is not None:
            query = query.where(table.c.id == checkpoint_id)
        found = await self._rows(query.order_by(table.c.id.desc()).limit(1))
        return await self._with_writes(run_id, found[0]) if found else None

    async def checkpoints(
        self, run_id: str, namespace: str | None, before: str | None, limit: int | None
    ) -> list[StoredCheckpoint]:
        table = schema.checkpoints
        query = select(table).where(table.c.run_id == run_id)
        if namespace is not None:
            query = query.where(table.c.namespace == namespace)
        if before is not None:
            query = query.where(table.c.id < before)
        found = await self._rows(query.order_by(table.c.id.desc()).limit(limit))
        return [await self._with_writes(run_id, row) for row in found]

    async def _with_writes(self, run_id: str, row: SqlRow[Any]) -> StoredCheckpoint:
        writes = await self.checkpoint_writes(run_id, row.namespace, row.id)
        return StoredCheckpoint(checkpoint=_record(Checkpoint, row), writes=writes)

    async def checkpoint_writes(
        self,
        run_id: str,
        namespace: str,
        checkpoint_id: str,
    ) -> tuple[CheckpointWrite, ...]:
        table = schema.checkpoint_writes
        query = select(table).where(
            table.c.run_id == run_id,
            table.c.namespace == namespace,
            table.c.checkpoint_id == checkpoint_id,
        )
        writes = await self._rows(query.order_by(table.c.task_path, table.c.task_id, table.c.position))
        return tuple(
            CheckpointWrite(
                task_id=w.task_id,
                task_path=w.task_path,
                position=w.position,
                channel=w.channel,
                kind=w.kind,
                value=w.value,
                replace=w.position < 0,
            )
            for w in writes
        )

    async def namespaces(self, run_id: str) -> list[str]:
        table = schema.checkpoints
        query = select(table.c.namespace).where(table.c.run_id == run_id).distinct()
        return [row.namespace for row in await self._rows(query)]

    # -- ordinary reads -----------------------------------------------------------------------------------------

    async def thread(self, thread_id: str) -> Thread | None:
        return await self._one(Thread, select(schema.threads).where(schema.threads.c.id == thread_id))

    async def named_thread(self, user_id: str, namespace: str, name: str) -> Thread | None:
        names, threads = schema.thread_names, schema.threads
        return await self._one(
            Thread,
            select(threads)
            .join(names, names.c.thread_id == threads.c.id)
            .where(names.c.user_id == user_id, names.c.namespace == namespace, names.c.name == name),
        )

    async def thread_names(self, user_id: str, namespace: str) -> dict[str, str]:
        names = schema.thread_names
        query = select(names.c.thread_id, names.c.name).where(
            names.c.user_id == user_id, names.c.namespace == namespace
        )
        return {row.thread_id: row.name for row in await self._rows(query)}

    async def threads(self, user_id: str, limit: int) -> list[Thread]:
        table = schema.threads
        query = select(table).where(table.c.user_id == user_id).order_by(table.c.updated_at.desc(), table.c.id.desc())
        return await self._all(Thread, query.limit(limit))

    async def messages(self, thread_id: str) -> list[Message]:
        table = schema.messages
        query = select(table).where(table.c.thread_id == thread_id, ~_unsaid(table))
        in_order: ColumnElement[int] = literal_column(
            "messages.rowid"
        )  # of their places in the conversation, which replies have early
        return await self._all(Message, query.order_by(in_order))

    async def create_thread(self, thread: Thread, state: bytes = b"") -> None:
        await self._writer.submit(lambda tx: transactions.create_thread(tx, thread, state))

    async def delete_thread(self, thread_id: str) -> None:
        await self._writer.submit(lambda tx: transactions.delete_thread(tx, thread_id))
        self._foreign_commit()  # what is remembered of its events is not there any more

    async def thread_state(self, thread_id: str) -> bytes:
        table = schema.thread_states
        found = await self._rows(select(table.c.value).where(table.c.thread_id == thread_id))
        return bytes(found[0].value) if found else b""

    async def graph_state(self, graph: str, message_id: str) -> GraphState | None:
        m, states = schema.messages, schema.graph_states

        def left_at(message: FromClause) -> ColumnElement[bool]:
            same_thread = states.c.thread_id == message.c.thread_id
            return and_(same_thread, states.c.message_id == message.c.id, states.c.graph == graph)

        found = exists().where(left_at(m)).label("found")
        step = select(m.c.id, m.c.parent_id, m.c.thread_id, found)
        path = step.where(m.c.id == message_id).cte("path", recursive=True)
        path = path.union_all(step.where(m.c.id == path.c.parent_id, ~path.c.found))
        rows = await self._rows(select(states).where(path.c.found, left_at(path)))
        if not rows:
            return None
        return GraphState(graph=graph, message_id=rows[0].message_id, value=bytes(rows[0].value))

    async def branch(self, message_id: str, after: str | None = None) -> list[Message]:
        table = schema.messages
        path = select(table, literal(0).label("depth")).where(table.c.id == message_id).cte("path", recursive=True)
        older = select(table, path.c.depth + 1).where(table.c.id == path.c.parent_id)
        path = path.union_all(older.where(table.c.id != after) if after else older)
        query = select(path).where(~_unsaid(path)).order_by(path.c.depth.desc())
        return await self._all(Message, query)

    async def run(self, run_id: str) -> Run | None:
        return await self._one(Run, select(schema.runs).where(schema.runs.c.id == run_id))

    async def waiting_run(self, thread_id: str) -> Run | None:
        table = schema.runs
        return await self._one(
            Run, select(table).where(table.c.thread_id == thread_id, table.c.status == "interrupted")
        )

    async def open_runs(self, thread_id: str) -> list[Run]:
        table = schema.runs
        query = select(table).where(table.c.thread_id == thread_id, table.c.status.in_(ACTIVE))
        return await self._all(Run, query.order_by(table.c.first_seq.desc()))

    async def _rows(self, query: Select[Any]) -> Sequence[SqlRow[Any]]:
        try:
            async with self._reader.connect() as connection:
                found: Sequence[SqlRow[Any]] = (await connection.execute(query)).all()
                return found
        except SQLAlchemyError as error:
            raise StorageError(f"cannot read: {error}") from error

    async def _all(self, record: type[R], query: Select[Any]) -> list[R]:
        return [_record(record, row) for row in await self._rows(query)]

    async def _one(self, record: type[R], query: Select[Any]) -> R | None:
        found = await self._all(record, query)
        return found[0] if found else None

    async def remember(self, key: tuple[str, str, str], run_id: str, seq: float) -> None:
        await self._writer.submit(lambda tx: transactions.remember(tx, key, run_id, seq))

    async def position(self, key: tuple[str, str, str]) -> tuple[str, float] | None:
        table = schema.positions
        user_id, dialect, connection = key
        found = await self._rows(
            select(table.c.run_id, table.c.seq).where(
                table.c.user_id == user_id, table.c.dialect == dialect, table.c.connection == connection
            )
        )
        return (found[0].run_id, found[0].seq) if found else None

    # -- workers ------------------------------------------------------------------------------------------------

    @property
    def worker_id(self) -> str:
        return self._lock.id

    async def orphans(self, lease_seconds: float) -> list[Run]:
        table = schema.runs
        running = await self._all(
            Run, select(table).where(table.c.status == "running", table.c.owner != self.worker_id)
        )
        other = table.alias()
        busy = exists().where(other.c.thread_id == table.c.thread_id, other.c.status.in_(("running", "interrupted")))
        waiting = select(table).where(table.c.status == "queued", ~busy).order_by(table.c.created_at)
        queued = await self._all(Run, waiting)
        seen = {row.id: row for row in await self._rows(select(schema.workers))}
        try:
            lost = [run for run in running if run.owner and self._is_gone(run.owner, seen, lease_seconds)]
        except OSError as error:
            raise StorageError(f"cannot look at the workers' locks: {error}") from error
        return lost + queued

    def _is_gone(self, worker_id: str, seen: dict[str, SqlRow[Any]], lease_seconds: float) -> bool:
        if self._lock.is_dead(worker_id):
            return True
        row = seen.get(worker_id)
        return row is None or row.boot_id != self._boot_id or _monotonic_ms() - row.seen_at > lease_seconds * 1000

    async def tokens_used(self, user_id: str, now: int) -> int:
        table = schema.usage
        query = select(table.c.tokens).where(table.c.user_id == user_id, table.c.day == now // transactions.DAY_MS)
        rows = await self._rows(query)
        return rows[0].tokens if rows else 0

    async def active_runs(self, user_id: str) -> int:
        table = schema.runs
        query = select(func.count().label("n")).where(
            table.c.user_id == user_id, table.c.status.in_(("queued", "running"))
        )
        count: int = (await self._rows(query))[0].n
        return count

    async def cancel_requests(self) -> list[Run]:
        table = schema.runs
        return await self._all(
            Run,
            select(table).where(
                table.c.status == "running", table.c.owner == self.worker_id, table.c.cancel_requested_by.is_not(None)
            ),
        )

    # -- flows and profiles -------------------------------------------------------------------------------------

    async def save_flow(self, agent_id: str, owner: str, definition: bytes, at: int) -> Flow:
        flow: Flow = await self._writer.submit(lambda tx: transactions.save_flow(tx, agent_id, owner, definition, at))
        return flow

    async def publish_flow(self, agent_id: str, owner: str, at: int, *, published: bool = True) -> Flow:
        flow: Flow = await self._writer.submit(lambda tx: transactions.publish_flow(tx, agent_id, owner, at, published))
        return flow

    async def delete_flow(self, agent_id: str, owner: str) -> None:
        await self._writer.submit(lambda tx: transactions.delete_flow(tx, agent_id, owner))

    async def flow(self, agent_id: str) -> Flow | None:
        return await self._one(Flow, select(schema.flows).where(schema.flows.c.agent_id == agent_id))

    async def flows(self, owner: str) -> list[Flow]:
        table = schema.flows
        return await self._all(Flow, select(table).where(table.c.owner == owner).order_by(table.c.updated_at.desc()))

    async def any_flow(self) -> bool:
        table = schema.flows
        return bool(await self._rows(select(table.c.agent_id).where(table.c.published.is_not(None)).limit(1)))

    async def flow_revision(self, agent_id: str, revision: int) -> bytes | None:
        table = schema.flow_revisions
        query = select(table.c.definition).where(table.c.agent_id == agent_id, table.c.revision == revision)
        found = await self._rows(query)
        return bytes(found[0].definition) if found else None

    async def profile(self, user_id: str) -> bytes | None:
        table = schema.profiles
        found = await self._rows(select(table.c.value).where(table.c.user_id == user_id))
        return bytes(found[0].value) if found else None

    async def save_profile(self, user_id: str, value: bytes | None, at: int) -> None:
        await self._writer.submit(lambda tx: transactions.save_profile(tx, user_id, value, at))

    # -- items --------------------------------------------------------------------------------------------------

    def put_items(self, writes: Sequence[ItemWrite], at: int) -> Future[None]:
        return self._writer.submit_from_thread(lambda tx: transactions.put_items(tx, writes, at))

    def items(self, places: Sequence[Place], now: int) -> Future[list[Item]]:
        table = schema.store_items
        named = tuple_(table.c.namespace, table.c.key)
        wanted = [(transactions.namespace_text(namespace), key) for namespace, key in places]
        query = select(*_item_columns()).where(*_kept(now), named.in_(wanted))
        return self._scan(query, lambda rows: [_item(row) for row in rows])

    def scan_items(
        self,
        prefix: Namespace,
        now: int,
        embedder: str | None,
        fold: Callable[[Iterator[tuple[Item, bytes]]], T],
    ) -> Future[T]:
        table = schema.store_items
        vectors = case((table.c.embedder == embedder, table.c.vectors))
        query = select(*_item_columns(), vectors).where(*_kept(now), *_inside(prefix))
        newest_first = query.order_by(table.c.revision.desc())
        return self._scan(newest_first, lambda rows: fold((_item(row), row[-1] or b"") for row in rows))

    def item_namespaces(self, prefix: Namespace, now: int) -> Future[list[Namespace]]:
        query = select(schema.store_items.c.namespace).where(*_kept(now), *_inside(prefix))
        return self._scan(query.distinct(), lambda rows: [_namespace(row[0]) for row in rows])

    def _scan(self, query: Select[Any], fold: Callable[[Iterator[SqlRow[Any]]], T]) -> Future[T]:
        """Fold the rows of a query in another thread: they may be many, and folding them may take long."""

        def scan() -> T:
            try:
                with self._scanned.connect() as connection:
                    rows = connection.execution_options(yield_per=SCANNED_ROWS).execute(query)
                    return fold(iter(rows))
            except SQLAlchemyError as error:
                raise StorageError(f"cannot read: {error}") from error

        try:
            scanning = self._scanners.submit(scan)
        except RuntimeError:  # its threads have ended
            raise StorageError("the database is closed") from None
        self._scans.add(scanning)
        scanning.add_done_callback(self._scans.discard)
        return scanning

    def refresh_items(self, places: Sequence[Place], now: int) -> Future[None]:
        return self._writer.submit_from_thread(lambda tx: transactions.refresh_items(tx, places, now))

    def sweep_items(self, now: int, limit: int) -> Future[int]:
        return self._writer.submit_from_thread(lambda tx: transactions.sweep_items(tx, now, limit))

    # -- access -------------------------------------------------------------------------------------------------

    async def revoke(self, kind: str, value: str, at: int) -> None:
        await self._writer.submit(lambda tx: transactions.revoke(tx, kind, value, at))

    async def revocations(self) -> list[tuple[str, str, int]]:
        return [(row.kind, row.value, row.at) for row in await self._rows(select(schema.revocations))]

    async def issue_ticket(self, digest: bytes, holder: bytes, now: int, expires_at: int) -> None:
        await self._writer.submit(lambda tx: transactions.issue_ticket(tx, digest, holder, now, expires_at))

    async def redeem_ticket(self, digest: bytes, now: int) -> bytes | None:
        holder: bytes | None = await self._writer.submit(lambda tx: transactions.redeem_ticket(tx, digest, now))
        return holder

    # -- the rest -----------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        return self._writer.problem

    async def facts(self) -> dict[str, str]:
        return {
            "engine": "sqlite",
            "version": sqlite3.sqlite_version,
            "journal_mode": "wal",
            "synchronous": "full",
        }

    async def close(self) -> None:
        await self._writer.close()
        self._scanners.shutdown(wait=False)
        await asyncio.gather(*map(asyncio.wrap_future, list(self._scans)), return_exceptions=True)
        self._scanned.dispose()
        await self._reader.dispose()
        self._lock.release()


def _record(record: type[R], row: SqlRow[Any]) -> R:
    values = row._mapping
    return record(**{field: values[field] for field in record.__struct_fields__})


def _item_columns() -> list[ColumnElement[Any]]:
    return [schema.store_items.c[name] for name in Item.__struct_fields__]


def _item(row: SqlRow[Any]) -> Item:
    """An item, of a row that begins with its columns."""
    namespace, *others = row[: len(Item.__struct_fields__)]
    return Item(**dict(zip(Item.__struct_fields__, (_namespace(namespace), *others), strict=True)))


def _namespace(text: str) -> Namespace:
    return tuple(text.split("."))


def _kept(now: int) -> list[ColumnElement[bool]]:
    """The condition of an item whose time is not over."""
    ends = schema.store_items.c.expires_at
    return [or_(ends.is_(None), ends > now)]


def _inside(prefix: Namespace) -> list[ColumnElement[bool]]:
    """The condition of an item in a namespace or inside it.

    The subquery is one range of the index, whose revisions SQLite then walks from the newest: no value is read for
    sorting, and none that a fold does not come to. `/` is the character after the period.
    """
    if not prefix:
        return []
    name, column = transactions.namespace_text(prefix), schema.store_items.c.namespace
    inside = and_(column >= name, column < f"{name}/", or_(column == name, column >= f"{name}."))
    return [schema.store_items.c.revision.in_(select(schema.store_items.c.revision).where(inside))]


def _unsaid(messages: FromClause) -> ColumnElement[bool]:
    """Whether a row is a reply's place of which nothing was said yet."""
    return and_(messages.c.role == "assistant", messages.c.content == "", messages.c.partial)


def _monotonic_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


def _writing_connection(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def _reading_engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(URL.create("sqlite+aiosqlite", database=str(path)), pool_size=4, max_overflow=12)
    _only_reads(engine.sync_engine)
    return engine


def _scanned_engine(path: Path) -> SqlEngine:
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=SCANNERS)
    _only_reads(engine)
    return engine


def _only_reads(engine: SqlEngine) -> None:
    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        for pragma in (f"busy_timeout = {BUSY_MS}", "query_only = ON", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}")


def _path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///")).expanduser().absolute()


def _set_up(path: Path) -> WorkerLock:
    """Create what is missing, one process at a time, and join the workers of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    locks = Path(f"{path}-workers")
    with exclusive(locks / "setup.lock"):
        _prepare(path)
        lock = WorkerLock(locks)
        lock.remove_others()
    return lock


def _prepare(path: Path) -> None:
    """Create the tables of a new file; refuse a file of a newer version."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    try:
        with engine.connect() as connection:
            connection.execute(text("PRAGMA journal_mode = WAL"))
        with engine.begin() as connection:
            version = connection.execute(text("PRAGMA user_version")).scalar_one()
            if version > schema.VERSION:
                raise StorageError(f"{path} was written by a newer version (schema {version}, known {schema.VERSION})")
            if version < schema.VERSION:  # so far every version has only added tables
                schema.metadata.create_all(connection)
                connection.execute(text(f"PRAGMA user_version = {schema.VERSION}"))
    finally:
        engine.dispose()
