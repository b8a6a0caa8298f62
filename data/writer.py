"""The one thread of a process that writes: it commits small commands in groups.

While one group is flushed to the disk, the next one collects. So all commands that wait share the
cost of a durable commit, and none waits for a timer. A command that raises is undone by its
savepoint, and the rest of its group is not affected. Results and rows reach the event loop only
after the commit.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any

from antiphon.data.base import WritingConnection
from antiphon.data.errors import StorageError
from antiphon.data.records import Row
from antiphon.data.transactions import Transaction

log = logging.getLogger("antiphon.data")

Command = Callable[[Transaction], Any]
_Job = tuple[Command, "asyncio.Future[Any] | Future[Any]"]
_Outcome = tuple["asyncio.Future[Any] | Future[Any]", Any, BaseException | None]

GROUP = 512
"""Commands in one transaction at most, which bounds how long a commit can take."""
POLL_SECONDS = 0.1
"""How often an idle writer checks whether another process has committed."""
STUCK_SECONDS = 30.0
"""Duration of a commit after which the writer counts as stuck; more than it waits for others."""

GONE = "WRITER_GONE"
STUCK = "WRITER_STUCK"


class Writer:
    """Owns the writing connection.

    `on_commit(rows)` runs on the event loop, before the commands' results arrive.
    `on_foreign_commit` runs there if another process has committed, or may have. `beat` is a
    command that is committed every `beat_seconds`: it does not depend on the event loop, which a
    user's graph may block.
    """

    def __init__(
        self,
        connect: Callable[[], WritingConnection],
        on_commit: Callable[[Sequence[Row]], None],
        on_foreign_commit: Callable[[], None],
        beat: Command,
        beat_seconds: float,
    ) -> None:
        self._connect = connect
        self._on_commit = on_commit
        self._on_foreign_commit = on_foreign_commit
        self._beat = beat
        self._beat_seconds = beat_seconds
        self._next_beat = 0.0
        self._version: int | None = None
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._waiting: set[asyncio.Future[Any]] = set()
        self._waiting_threads: set[Future[Any]] = set()
        self._over = False
        self._loop = asyncio.get_running_loop()
        self._ended = self._loop.create_future()
        self._turned_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="antiphon-writer", daemon=True)
        self._closed = False
        self._thread.start()

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored, as a code; None if all is well."""
        if self._closed or not self._thread.is_alive():
            return GONE
        return STUCK if time.monotonic() - self._turned_at > STUCK_SECONDS else None

    def submit(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command. Return a future of its result after the commit, or of its error.

        Raises `StorageError` if the writer is closed, gone or stuck.
        """
        self._check()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.add(future)
        self._jobs.put((command, future))
        return future

    def submit_from_thread(self, command: Command) -> Future[Any]:
        """Like `submit`, from any thread, for a command that adds no events.

        The writer's own thread completes the future, as the event loop itself may wait for it.
        """
        self._check()
        future: Future[Any] = Future()
        self._waiting_threads.add(future)
        self._jobs.put((command, future))
        if self._over:  # the thread has ended in between, and may have missed it
            self._give_up()
        return future

    def _check(self) -> None:
        if self._closed:
            raise StorageError("the database is closed")
        if (problem := self.problem) is not None:
            raise StorageError(f"nothing can be stored: {problem}")

    async def close(self) -> None:
        """Commit what was submitted, then end the thread."""
        if not self._closed:
            self._closed = True
            self._jobs.put(None)
        await asyncio.shield(self._ended)  # not in a thread of the loop's pool, which may be full

    def _run(self) -> None:
        """Run the thread. However it ends, all pending futures get an error."""
        try:
            self._work()
        except BaseException:  # of any kind: the process goes on, and its health page reports it
            log.exception(
                "the writer ended: nothing can be stored until the process is started again"
            )
        finally:
            self._over = True
            self._give_up()
            self._call(self._end)

    def _give_up(self) -> None:
        for future in list(self._waiting_threads):
            self._complete(future, None, StorageError("the writer ended"))

    def _end(self) -> None:
        for future in list(self._waiting):
            self._complete(future, None, StorageError("the writer ended"))
        if not self._ended.done():
            self._ended.set_result(None)

    def _work(self) -> None:
        """Commit groups until `close`. After any failure go on with a new connection."""
        connection: WritingConnection | None = None
        while (group := self._next_group()) is not None:
            self._turned_at = time.monotonic()
            try:
                connection = connection or self._connect()
                rows, outcomes = self._commit(connection, group)
            except BaseException as error:  # of any kind: all else depends on this thread
                rows, outcomes = [], _failures(group, error)
                _close(connection)
                connection = self._version = None
            if outcomes:
                self._deliver(rows, outcomes)
        _close(connection)

    def _next_group(self) -> list[_Job] | None:
        """Return all waiting commands, an empty group after a pause, None at the end."""
        try:
            first = self._jobs.get(timeout=POLL_SECONDS)
        except queue.Empty:
            return []
        group: list[_Job] = []
        while first is not None:
            group.append(first)
            if len(group) == GROUP or self._jobs.empty():
                return group
            first = self._jobs.get()
        self._jobs.put(None)  # the end mark again: commit this group first
        return group or None

    def _commit(
        self, connection: WritingConnection, group: list[_Job]
    ) -> tuple[list[Row], list[_Outcome]]:
        """Commit a group. If it raises, nothing of the group is stored."""
        beat_due = time.monotonic() >= self._next_beat
        if not group and not beat_due:
            self._notice(connection)
            return [], []
        rows: list[Row] = []
        connection.begin()
        self._notice(connection)
        outcomes: list[_Outcome] = []
        for command, future in group:
            outcomes.append((future, *_apply(connection, command, rows)))
        if beat_due:
            self._beat(Transaction(connection))
        connection.execute("COMMIT")
        if beat_due:
            self._next_beat = time.monotonic() + self._beat_seconds
        return rows, outcomes

    def _notice(self, connection: WritingConnection) -> None:
        """Report commits of other processes, before our own results, which may depend on them.

        The number compares within one connection only, so a new one always reports one.
        """
        version = connection.foreign_commits()
        if version != self._version:
            self._call(self._on_foreign_commit)
        self._version = version

    def _call(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is closed, and nothing on it waits any more
            return

    def _deliver(self, rows: list[Row], outcomes: list[_Outcome]) -> None:
        """Complete the futures of threads here, and the others on the loop, after the rows."""
        if on_loop := [outcome for outcome in outcomes if not isinstance(outcome[0], Future)]:
            self._call(self._settle, rows, on_loop)
        for future, result, error in outcomes:
            if isinstance(future, Future):
                self._complete(future, result, error)

    def _settle(self, rows: list[Row], outcomes: list[_Outcome]) -> None:
        if rows:
            self._on_commit(rows)
        for future, result, error in outcomes:
            self._complete(future, result, error)

    def _complete(
        self, future: asyncio.Future[Any] | Future[Any], result: Any, error: BaseException | None
    ) -> None:
        waiting: set[Any] = self._waiting_threads if isinstance(future, Future) else self._waiting
        waiting.discard(future)
        with suppress(asyncio.InvalidStateError, InvalidStateError):  # it was cancelled
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _failures(group: list[_Job], error: BaseException) -> list[_Outcome]:
    """Return the outcomes of a group that was not stored."""
    return [(future, None, StorageError(f"not stored: {error}")) for _, future in group]


def _apply(
    connection: WritingConnection, command: Command, rows: list[Row]
) -> tuple[Any, BaseException | None]:
    """Run one command in a savepoint. Return its result or error; add its rows to `rows`."""
    transaction = Transaction(connection)
    connection.execute("SAVEPOINT command")
    try:
        result = command(transaction)
    except Exception as error:
        if connection.spoils_group(error):
            raise
        connection.execute("ROLLBACK TO command")
        connection.execute("RELEASE command")
        return None, error
    connection.execute("RELEASE command")
    rows.extend(transaction.rows)
    return result, None


def _close(connection: WritingConnection | None) -> None:
    """Close a connection, which undoes its open transaction."""
    if connection is not None:
        with suppress(Exception):  # it is broken already
            connection.close()
