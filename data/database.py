"""A database: everything that is read, and one way to write. The same on every backend.

Writing goes through `writer.py`, by functions of `transactions/`; reads go through SQLAlchemy on connections of
their own. No connection is held for longer than one query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, TypeVar

import msgspec
from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    and_,
    case,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
)
from sqlalchemy import Row as SqlRow
from sqlalchemy.exc import SQLAlchemyError

from antiphon.data import schema, transactions
from antiphon.data.base import Backend, Heartbeat, Watch
from antiphon.data.errors import StorageError
from antiphon.data.hints import Hints
from antiphon.data.records import (
    ACTIVE,
    DAY_MS,
    Checkpoint,
    CheckpointWrite,
    Flow,
    GraphState,
    Item,
    Message,
    Namespace,
    Row,
    Run,
    StoredCheckpoint,
    Thread,
)
from antiphon.data.tail import Tail
from antiphon.data.transactions import Transaction
from antiphon.data.transactions.items import namespace_text
from antiphon.data.writer import Writer

SCANNED_ROWS = 100
"""How many rows of a scan are fetched at once."""
SCANNERS = 4
"""How many reads of stored items are under way at once; others wait, and hold up nothing else."""
BLOCKED_SECONDS = 1.0
"""How long taking over may be blocked by the very worker whose lease is over, before that one is killed."""

P = ParamSpec("P")
R = TypeVar("R", bound=msgspec.Struct)
T = TypeVar("T")
Place = tuple[Namespace, str]
Write = Callable[Concatenate[Transaction, P], T]
"""A function that writes: it is given a transaction first."""


class Database:
    """Threads, messages, runs, events and what else is kept, on one backend. Make it with `open_database`."""

    def __init__(self, backend: Backend, beat_seconds: float = 2.0) -> None:
        self._backend = backend
        self._tail = Tail()
        self._hints = Hints()
        self._scanners = ThreadPoolExecutor(SCANNERS, thread_name_prefix="antiphon-scan")
        self._scans: set[Future[Any]] = set()
        self._writer = Writer(
            connect=backend.connect,
            on_commit=self._committed,
            on_foreign_commit=self._foreign_commit,
            beat=backend.beat,
            beat_seconds=beat_seconds,
        )

    # -- writing ------------------------------------------------------------------------------------------------

    async def write(self, command: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function of `transactions` returns, once what it has written is durable.

        What it raises is raised, and nothing of it is stored. Raises `StorageError` if the database takes nothing.
        """
        result: T = await self._writer.submit(lambda tx: command(tx, *args, **kwargs))
        return result

    def submit(self, command: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Like `write`, from any thread and at once, for what adds no events.

        A thread of the database's own completes the future: it may be waited for anywhere, also on the event loop.
        """
        return self._writer.submit_from_thread(lambda tx: command(tx, *args, **kwargs))

    async def claim(self, run_id: str, worker: str, *, held_by: str | None = None) -> Run | None:
        """Become the writer of a run, as `transactions.claim` does; a holder that blocks everybody is ended."""
        claiming = asyncio.ensure_future(self.write(transactions.claim, run_id, worker, held_by))
        if held_by is not None:
            # a worker that was stopped inside a transaction may block the store for everybody, and for ever
            _, blocked = await asyncio.wait([claiming], timeout=BLOCKED_SECONDS)
            if blocked:
                self._backend.unblock(held_by)  # not in a thread of the loop's pool, which users' functions may fill
        return await claiming

    async def delete_thread(self, thread_id: str) -> None:
        """Forget a thread, as `transactions.delete_thread` does, and what is remembered of its events."""
        await self.write(transactions.delete_thread, thread_id)
        self._foreign_commit()

    def _committed(self, rows: Sequence[Row]) -> None:
        self._tail.extend(rows)
        self._hints.notify({row.thread_id for row in rows})

    def _foreign_commit(self) -> None:
        self._tail.clear()
        self._hints.notify_all()

    # -- the log ------------------------------------------------------------------------------------------------

    async def read(self, thread_id: str, after: int, limit: int) -> list[Row]:
        """Rows with `seq > after`, in order, at most `limit`."""
        rows = self._tail.read(thread_id, after, limit)
        if rows is not None:
            return rows
        table = schema.events
        query = (
            select(table).where(table.c.thread_id == thread_id, table.c.seq > after).order_by(table.c.seq).limit(limit)
        )
        return await self._all(Row, query)

    def watch(self, thread_id: str) -> AbstractContextManager[Watch]:
        """Subscribe to hints about a thread."""
        return self._hints.watch(thread_id)

    def wake(self) -> None:
        """Hint at every watched thread."""
        self._hints.notify_all()

    # -- checkpoints --------------------------------------------------------------------------------------------

    async def checkpoint(self, run_id: str, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        """The named checkpoint, or the newest one."""
        table = schema.checkpoints
        query = select(table).where(table.c.run_id == run_id, table.c.namespace == namespace)
        if checkpoint_id is not None:
            query = query.where(table.c.id == checkpoint_id)
        found = await self._rows(query.order_by(table.c.id.desc()).limit(1))
        return await self._with_writes(run_id, found[0]) if found else None

    async def checkpoints(
        self, run_id: str, namespace: str | None, before: str | None, limit: int | None
    ) -> list[StoredCheckpoint]:
        """Checkpoints of a run, newest first."""
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
        """What tasks of a run have written after a checkpoint, which may be another run's."""
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
        """Namespaces in which a run has checkpoints."""
        table = schema.checkpoints
        query = select(table.c.namespace).where(table.c.run_id == run_id).distinct()
        return [row.namespace for row in await self._rows(query)]

    # -- ordinary reads -----------------------------------------------------------------------------------------

    async def thread(self, thread_id: str) -> Thread | None:
        """A thread by id."""
        return await self._one(Thread, select(schema.threads).where(schema.threads.c.id == thread_id))

    async def named_thread(self, user_id: str, namespace: str, name: str) -> Thread | None:
        """The thread that a client of this user calls `name`."""
        names, threads = schema.thread_names, schema.threads
        return await self._one(
            Thread,
            select(threads)
            .join(names, names.c.thread_id == threads.c.id)
            .where(names.c.user_id == user_id, names.c.namespace == namespace, names.c.name == name),
        )

    async def thread_names(self, user_id: str, namespace: str) -> dict[str, str]:
        """What a user's clients call their threads in one namespace, by the threads' ids."""
        names = schema.thread_names
        query = select(names.c.thread_id, names.c.name).where(
            names.c.user_id == user_id, names.c.namespace == namespace
        )
        return {row.thread_id: row.name for row in await self._rows(query)}

    async def threads(self, user_id: str, limit: int) -> list[Thread]:
        """A user's threads, the newest first."""
        table = schema.threads
        query = select(table).where(table.c.user_id == user_id).order_by(table.c.updated_at.desc(), table.c.id.desc())
        return await self._all(Thread, query.limit(limit))

    async def messages(self, thread_id: str) -> list[Message]:
        """Messages of a thread, the oldest first; without replies of which nothing was said yet."""
        table = schema.messages
        query = select(table).where(table.c.thread_id == thread_id, ~_unsaid(table))
        return await self._all(Message, query.order_by(table.c.position))  # replies have theirs early

    async def thread_state(self, thread_id: str) -> bytes:
        """What the thread's last run left for the next one; empty where it left nothing."""
        table = schema.thread_states
        found = await self._rows(select(table.c.value).where(table.c.thread_id == thread_id))
        return bytes(found[0].value) if found else b""

    async def graph_state(self, graph: str, message_id: str) -> GraphState | None:
        """The nearest state of the graph on the branch of messages that ends with this one."""
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
        """A message and what it follows, the oldest first, back to the thread's first message.

        If the message `after` is among them, those after it.
        """
        table = schema.messages
        path = select(table, literal(0).label("depth")).where(table.c.id == message_id).cte("path", recursive=True)
        older = select(table, path.c.depth + 1).where(table.c.id == path.c.parent_id)
        path = path.union_all(older.where(table.c.id != after) if after else older)
        query = select(path).where(~_unsaid(path)).order_by(path.c.depth.desc())
        return await self._all(Message, query)

    async def run(self, run_id: str) -> Run | None:
        """A run by id."""
        return await self._one(Run, select(schema.runs).where(schema.runs.c.id == run_id))

    async def waiting_run(self, thread_id: str) -> Run | None:
        """The run of a thread that waits for a human."""
        table = schema.runs
        return await self._one(
            Run, select(table).where(table.c.thread_id == thread_id, table.c.status == "interrupted")
        )

    async def open_runs(self, thread_id: str) -> list[Run]:
        """Runs of a thread that have not ended, the newest first."""
        table = schema.runs
        query = select(table).where(table.c.thread_id == thread_id, table.c.status.in_(ACTIVE))
        return await self._all(Run, query.order_by(table.c.first_seq.desc()))

    async def _rows(self, query: Select[Any]) -> Sequence[SqlRow[Any]]:
        try:
            async with self._backend.reader.connect() as connection:
                found: Sequence[SqlRow[Any]] = (await connection.execute(query)).all()
                return found
        except SQLAlchemyError as error:
            raise StorageError(f"cannot read: {error}") from error

    async def _all(self, record: type[R], query: Select[Any]) -> list[R]:
        return [_record(record, row) for row in await self._rows(query)]

    async def _one(self, record: type[R], query: Select[Any]) -> R | None:
        found = await self._all(record, query)
        return found[0] if found else None

    async def position(self, key: tuple[str, str, str]) -> tuple[str, float] | None:
        """The run and the number of the last frame; None for a connection that was shown nothing."""
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
        """This process's identity; a lock held by the operating system tells others that it lives."""
        return self._backend.worker_id

    async def orphans(self, lease_seconds: float) -> list[Run]:
        """Running runs whose worker is dead or silent for a lease, and queued ones whose thread is idle."""
        table = schema.runs
        running = await self._all(
            Run, select(table).where(table.c.status == "running", table.c.owner != self.worker_id)
        )
        other = table.alias()
        busy = exists().where(other.c.thread_id == table.c.thread_id, other.c.status.in_(("running", "interrupted")))
        waiting = select(table).where(table.c.status == "queued", ~busy).order_by(table.c.created_at)
        queued = await self._all(Run, waiting)
        said = {row.id: Heartbeat(row.seen_at, row.boot_id) for row in await self._rows(select(schema.workers))}
        try:
            lost = [
                run
                for run in running
                if run.owner and self._backend.is_gone(run.owner, said.get(run.owner), lease_seconds)
            ]
        except OSError as error:
            raise StorageError(f"cannot look at the workers' locks: {error}") from error
        return lost + queued

    async def tokens_used(self, user_id: str, now: int) -> int:
        """Tokens that a user's runs have used on the day of `now` (ms, UTC)."""
        table = schema.usage
        query = select(table.c.tokens).where(table.c.user_id == user_id, table.c.day == now // DAY_MS)
        rows = await self._rows(query)
        return rows[0].tokens if rows else 0

    async def active_runs(self, user_id: str) -> int:
        """How many runs of a user are under way or wait for their turn; not those that wait for a human."""
        table = schema.runs
        query = select(func.count().label("n")).where(
            table.c.user_id == user_id, table.c.status.in_(("queued", "running"))
        )
        count: int = (await self._rows(query))[0].n
        return count

    async def cancel_requests(self) -> list[Run]:
        """Runs of this worker that somebody asked to stop."""
        table = schema.runs
        return await self._all(
            Run,
            select(table).where(
                table.c.status == "running", table.c.owner == self.worker_id, table.c.cancel_requested_by.is_not(None)
            ),
        )

    # -- flows and profiles -------------------------------------------------------------------------------------

    async def flow(self, agent_id: str) -> Flow | None:
        """A flow by its id."""
        return await self._one(Flow, select(schema.flows).where(schema.flows.c.agent_id == agent_id))

    async def flows(self, owner: str) -> list[Flow]:
        """A user's flows, the last changed first."""
        table = schema.flows
        return await self._all(Flow, select(table).where(table.c.owner == owner).order_by(table.c.updated_at.desc()))

    async def any_flow(self) -> bool:
        """Whether anybody has published a flow."""
        table = schema.flows
        return bool(await self._rows(select(table.c.agent_id).where(table.c.published.is_not(None)).limit(1)))

    async def flow_revision(self, agent_id: str, revision: int) -> bytes | None:
        """One revision's definition."""
        table = schema.flow_revisions
        query = select(table.c.definition).where(table.c.agent_id == agent_id, table.c.revision == revision)
        found = await self._rows(query)
        return bytes(found[0].definition) if found else None

    async def profile(self, user_id: str) -> bytes | None:
        """What a user has told about themselves."""
        table = schema.profiles
        found = await self._rows(select(table.c.value).where(table.c.user_id == user_id))
        return bytes(found[0].value) if found else None

    # -- items --------------------------------------------------------------------------------------------------

    def items(self, places: Sequence[Place], now: int) -> Future[list[Item]]:
        """The items at these places, in any order; a place where nothing is kept has none."""
        table = schema.store_items
        named = tuple_(table.c.namespace, table.c.key)
        wanted = [(namespace_text(namespace), key) for namespace, key in places]
        query = select(*_item_columns()).where(*_kept(now), named.in_(wanted))
        return self._scan(query, lambda rows: [_item(row) for row in rows])

    def scan_items(
        self,
        prefix: Namespace,
        now: int,
        embedder: str | None,
        fold: Callable[[Iterator[tuple[Item, bytes]]], T],
    ) -> Future[T]:
        """What `fold` makes of the items in a namespace and inside it, the last written first.

        Each comes with its vectors, which are empty if it has none of this embedder. `fold` sees one
        state of the database, and may stop early; what it raises is raised.
        """
        table = schema.store_items
        vectors = case((table.c.embedder == embedder, table.c.vectors))
        query = select(*_item_columns(), vectors).where(*_kept(now), *_inside(prefix))
        newest_first = query.order_by(table.c.revision.desc())
        return self._scan(newest_first, lambda rows: fold((_item(row), row[-1] or b"") for row in rows))

    def item_namespaces(self, prefix: Namespace, now: int) -> Future[list[Namespace]]:
        """Namespaces that hold an item, in a namespace and inside it, in any order."""
        query = select(schema.store_items.c.namespace).where(*_kept(now), *_inside(prefix))
        return self._scan(query.distinct(), lambda rows: [_namespace(row[0]) for row in rows])

    def _scan(self, query: Select[Any], fold: Callable[[Iterator[SqlRow[Any]]], T]) -> Future[T]:
        """Fold the rows of a query in another thread: they may be many, and folding them may take long."""

        def scan() -> T:
            try:
                with self._backend.scanner.connect() as connection:
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

    # -- access -------------------------------------------------------------------------------------------------

    async def revocations(self) -> list[tuple[str, str, int]]:
        """All revocations as `(kind, value, at)`."""
        return [(row.kind, row.value, row.at) for row in await self._rows(select(schema.revocations))]

    # -- the rest -----------------------------------------------------------------------------------------------

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored here any more, as a stable code; None if all is well.

        A store that is full or locked is no such problem: that passes.
        """
        return self._writer.problem

    async def facts(self) -> dict[str, str]:
        """Engine version and settings, for the health page."""
        return self._backend.facts()

    async def close(self) -> None:
        """Finish what was submitted, release everything. Idempotent."""
        await self._writer.close()
        self._scanners.shutdown(wait=False)
        await asyncio.gather(*map(asyncio.wrap_future, list(self._scans)), return_exceptions=True)
        await self._backend.close()


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
    name, column = namespace_text(prefix), schema.store_items.c.namespace
    inside = and_(column >= name, column < f"{name}/", or_(column == name, column >= f"{name}."))
    return [schema.store_items.c.revision.in_(select(schema.store_items.c.revision).where(inside))]


def _unsaid(messages: FromClause) -> ColumnElement[bool]:
    """Whether a row is a reply's place of which nothing was said yet."""
    return and_(messages.c.role == "assistant", messages.c.content == "", messages.c.partial)
