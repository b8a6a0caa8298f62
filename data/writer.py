"""The one thread of a process that writes: it takes small commands and commits them in groups.

While one group is being flushed to the disk, the next collects; so the cost of a durable commit is shared by
everybody who waits for it, and nobody waits for a timer. A command that raises is undone by its savepoint and
does not disturb its neighbours. Results and rows are handed to the event loop only after the commit.
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
"""Commands in one transaction at most: bounds how long a commit can take."""
POLL_SECONDS = 0.1
"""How often an idle writer looks whether another process has committed."""
STUCK_SECONDS = 30.0
"""Time of one commit after which the writer counts as stuck: longer than it waits for another process."""

GONE = "WRITER_GONE"
STUCK = "WRITER_STUCK"


class Writer:
    """Owns the writing connection. `on_commit(rows)` runs on the event loop, before the commands' results arrive.

    `on_foreign_commit` runs there too, when another process has committed to the same file, or may have. `beat` is a
    command that is committed every `beat_seconds` whatever else happens: it does not depend on the event loop, which a
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
        """Why nothing can be stored, as a code; None if nothing is wrong."""
        if self._closed or not self._thread.is_alive():
            return GONE
        return STUCK if time.monotonic() - self._turned_at > STUCK_SECONDS else None

    def submit(self, command: Command) -> asyncio.Future[Any]:
        """Queue a command. The future has its result after the commit, or the error that undid it.

        Raises `StorageError` if the writer is closed, gone or stuck: nobody would answer.
        """
        self._check()
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting.add(future)
        self._jobs.put((command, future))
        return future

    def submit_from_thread(self, command: Command) -> Future[Any]:
        """Like `submit`, from any thread, for a command that adds no events.

        The writer's own thread completes the future: the event loop may be what waits for it.
        """
        self._check()
        future: Future[Any] = Future()
        self._waiting_threads.add(future)
        self._jobs.put((command, future))
        if self._over:  # the thread has ended meanwhile, and may not have seen it
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
        """The thread. If it ends in any other way than by `close`, those who wait get an error."""
        try:
            self._work()
        except BaseException:  # of whatever kind: the process lives on, and its health tells
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
        self._settle(
            [], [(future, None, StorageError("the writer ended")) for future in list(self._waiting)]
        )
        if not self._ended.done():
            self._ended.set_result(None)

    def _work(self) -> None:
        """Commit groups until `close`. Whatever the file does, it goes on: with a new connection if it must."""
        connection: WritingConnection | None = None
        while (group := self._next_group()) is not None:
            self._turned_at = time.monotonic()
            try:
                connection = connection or self._connect()
                rows, outcomes = self._commit(connection, group)
            except (
                BaseException
            ) as error:  # of whatever kind: without this thread nobody would be told anything more
                rows, outcomes = (
                    [],
                    [(future, None, StorageError(f"not stored: {error}")) for _, future in group],
                )
                _close(connection)
                connection = self._version = None
            if outcomes:
                self._deliver(rows, outcomes)
        _close(connection)

    def _next_group(self) -> list[_Job] | None:
        """Everything that waits, or an empty group after a while, or None at the end."""
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
        self._jobs.put(None)  # the end mark: finish this group first, then stop
        return group or None

    def _commit(
        self, connection: WritingConnection, group: list[_Job]
    ) -> tuple[list[Row], list[_Outcome]]:
        """Commit a group. Raises if the store does not take it: nothing of it is stored then."""
        beat_due = time.monotonic() >= self._next_beat
        if not group and not beat_due:
            self._notice(connection)
            return [], []
        rows: list[Row] = []
        connection.begin()
        self._notice(connection)
        outcomes: list[_Outcome] = [
            (future, *_apply(connection, command, rows)) for command, future in group
        ]
        if beat_due:
            self._beat(Transaction(connection))
        connection.execute("COMMIT")
        if beat_due:
            self._next_beat = time.monotonic() + self._beat_seconds
        return rows, outcomes

    def _notice(self, connection: WritingConnection) -> None:
        """Tell of commits by other processes: before our own results, which may rest on them.

        The number compares within one connection only; so at the beginning of each, there may have been some.
        """
        version = connection.foreign_commits()
        if version != self._version:
            self._call(self._on_foreign_commit)
        self._version = version

    def _call(self, callback: Callable[..., None], *args: Any) -> None:
        try:
            self._loop.call_soon_threadsafe(callback, *args)
        except RuntimeError:  # the loop is gone: nobody waits any more
            return

    def _deliver(self, rows: list[Row], outcomes: list[_Outcome]) -> None:
        """Complete the futures of threads here, and the others on the loop, behind the rows."""
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
        with suppress(asyncio.InvalidStateError, InvalidStateError):  # whoever waited was cancelled
            if error is None:
                future.set_result(result)
            else:
                future.set_exception(error)


def _apply(
    connection: WritingConnection, command: Command, rows: list[Row]
) -> tuple[Any, BaseException | None]:
    """Run one command inside a savepoint. Its rows count only if it succeeds."""
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
    """Close a connection, whose open transaction is undone by that."""
    if connection is not None:
        with suppress(Exception):  # it is broken already
            connection.close()
