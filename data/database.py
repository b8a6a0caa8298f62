"""A database, the same on every backend: one way to write, one way to read, and hints.

`write` takes a function of `transactions`, which runs in the writer's thread (`writer.py`);
`fetch` takes a function of `reads`, which runs on a connection of its own. `submit` and `scan` are
the same from any thread: they return futures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from antiphon.data import reads, transactions
from antiphon.data.base import SCANNERS, Backend
from antiphon.data.errors import StorageError
from antiphon.data.hints import Hints, Watch
from antiphon.data.records import Row, RunRecord
from antiphon.data.tail import Tail
from antiphon.data.transactions import Transaction
from antiphon.data.writer import Writer

SCANNED_ROWS = 100
"""How many rows of a scan are fetched at once."""
BLOCKED_SECONDS = 1.0
"""How long a takeover may be blocked by the worker whose lease is over, before it is killed."""

P = ParamSpec("P")
T = TypeVar("T")
Write = Callable[Concatenate[Transaction, P], T]
"""A function of `transactions`."""
Read = Callable[Concatenate[Connection, P], T]
"""A function of `reads`."""


class Database:
    """Threads, messages, runs, events and more, on one backend. Made by `open_database`."""

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

    # -- writing -----------------------------------------------------------------------------------

    async def write(self, command: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function of `transactions` returns, once its changes are durable.

        If it raises, nothing of it is stored, and the error is raised here. Raises `StorageError`
        if the database cannot store anything.
        """
        result: T = await self._writer.submit(lambda tx: command(tx, *args, **kwargs))
        return result

    def submit(self, command: Write[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Like `write`, from any thread and at once, for what adds no events.

        A thread of the database's own completes the future, so it is safe to wait for it anywhere,
        also on the event loop.
        """
        return self._writer.submit_from_thread(lambda tx: command(tx, *args, **kwargs))

    async def claim(
        self, run_id: str, worker: str, *, held_by: str | None = None
    ) -> RunRecord | None:
        """Become the writer of a run, as `transactions.claim` does.

        If the former holder blocks the database, its process is killed.
        """
        claiming = asyncio.ensure_future(self.write(transactions.claim, run_id, worker, held_by))
        if held_by is not None:
            # A worker that was suspended inside a transaction may block the database for ever.
            _, blocked = await asyncio.wait([claiming], timeout=BLOCKED_SECONDS)
            if blocked:
                # Not in a thread of the loop's pool, which users' functions may fill.
                self._backend.unblock(held_by)
        return await claiming

    async def delete_thread(self, thread_id: str) -> None:
        """Delete a thread, as `transactions.delete_thread` does, also from the tail."""
        await self.write(transactions.delete_thread, thread_id)
        self._foreign_commit()

    def _committed(self, rows: Sequence[Row]) -> None:
        self._tail.extend(rows)
        self._hints.notify({row.thread_id for row in rows})

    def _foreign_commit(self) -> None:
        self._tail.clear()
        self._hints.notify_all()

    # -- reading -----------------------------------------------------------------------------------

    async def fetch(self, read: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function of `reads` returns. Raises `StorageError`."""
        try:
            async with self._backend.reader.connect() as connection:
                return await connection.run_sync(read, *args, **kwargs)
        except SQLAlchemyError as error:
            raise StorageError(f"cannot read: {error}") from error

    def scan(self, read: Read[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Like `fetch`, from any thread and at once, for what may have many rows or take long.

        A thread of the database's own reads, some rows at a time, and completes the future. Raises
        `StorageError` if the database is closed.
        """

        def in_thread() -> T:
            try:
                with self._backend.scanner.connect() as connection:
                    streaming = connection.execution_options(yield_per=SCANNED_ROWS)
                    return read(streaming, *args, **kwargs)
            except SQLAlchemyError as error:
                raise StorageError(f"cannot read: {error}") from error

        try:
            scanning = self._scanners.submit(in_thread)
        except RuntimeError:  # its threads have ended
            raise StorageError("the database is closed") from None
        self._scans.add(scanning)
        scanning.add_done_callback(self._scans.discard)
        return scanning

    async def read(self, thread_id: str, after: int, limit: int) -> list[Row]:
        """Return a thread's events with `seq > after`, in order, at most `limit`.

        Recent ones come from memory, without a query.
        """
        rows = self._tail.read(thread_id, after, limit)
        if rows is not None:
            return rows
        return await self.fetch(reads.events_after, thread_id, after, limit)

    async def orphans(self, lease_seconds: float) -> list[RunRecord]:
        """Return runs that need a worker.

        These are running ones whose worker is dead or silent for a lease, and queued ones whose
        thread is idle.
        """
        found = await self.fetch(reads.recoverable, self.worker_id)
        heartbeats = found.heartbeats
        lost = []
        try:
            for run in found.running:
                owner = run.owner
                if owner and self._backend.is_gone(owner, heartbeats.get(owner), lease_seconds):
                    lost.append(run)
        except OSError as error:
            raise StorageError(f"cannot look at the workers' locks: {error}") from error
        return lost + found.queued

    def watch(self, thread_id: str) -> AbstractContextManager[Watch]:
        """Subscribe to hints about a thread."""
        return self._hints.watch(thread_id)

    def wake(self) -> None:
        """Hint at every watched thread."""
        self._hints.notify_all()

    # -- the rest ----------------------------------------------------------------------------------

    @property
    def worker_id(self) -> str:
        """This process's identity among those on the same database."""
        return self._backend.worker_id

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored here any more, as a stable code; None if all is well.

        A database that is full or locked is no such problem: that passes.
        """
        return self._writer.problem

    async def facts(self) -> dict[str, str]:
        """Return engine version and settings, for the health page."""
        return self._backend.facts()

    async def close(self) -> None:
        """Finish what was submitted, release everything. Idempotent."""
        await self._writer.close()
        self._scanners.shutdown(wait=False)
        scans = [asyncio.wrap_future(scan) for scan in list(self._scans)]
        await asyncio.gather(*scans, return_exceptions=True)
        await self._backend.close()
