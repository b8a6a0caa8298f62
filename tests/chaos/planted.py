"""`python -m tests.chaos.planted BUG serve …`: the server with a bug planted into the running
process, for the suite to find. The product itself knows nothing of this."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
import sys
import time
from typing import Any

import msgspec
from uvicorn.protocols.http.flow_control import FlowControl

from antiphon.api.cli import main
from antiphon.api.streams import Framer
from antiphon.data import transactions
from antiphon.data.sqlite import SqliteBackend
from antiphon.data.tail import Tail
from antiphon.data.transactions import log, runs
from antiphon.data.writer import Writer, _apply
from antiphon.orchestrator.recording.view import RunView


def duplicate() -> None:
    """Some frames are sent twice."""
    frames = Framer.frames
    Framer.frames = lambda self, batch: [
        f for f in frames(self, batch) for _ in range(1 + (f[1].seq % 9 == 0))
    ]


def gap() -> None:
    """Some frames are not sent."""
    frames = Framer.frames
    Framer.frames = lambda self, batch: [f for f in frames(self, batch) if f[1].seq % 9]


def skipped_number() -> None:
    """The log itself leaves out numbers."""
    number = log.number

    def skipping(tx: Any, thread_id: str, *rest: Any) -> None:
        tx.execute(
            "UPDATE threads SET last_seq = last_seq + (last_seq > 7) WHERE id = :id", id=thread_id
        )
        number(tx, thread_id, *rest)

    log.number = runs.number = skipping


def changed() -> None:
    """What is read from memory differs from what is read from the disk."""
    read = Tail.read

    def altered(self: Tail, *place: Any) -> Any:
        rows = read(self, *place)
        return rows and [
            msgspec.structs.replace(row, at=row.at + (row.seq % 5 == 0)) for row in rows
        ]

    Tail.read = altered


def no_fence() -> None:
    """Whoever writes may write."""

    def append(tx: Any, fence: Any, _: int, events: Any, writes: Any = (), __: bool = False) -> int:
        run = tx.existing_run(fence.run_id)
        tx.execute(
            "UPDATE runs SET emitted = emitted + :count WHERE id = :id",
            count=len(events),
            id=run.id,
        )
        log.number(tx, run.thread_id, run.id, run.attempt, events)
        for namespace, checkpoint_id, write in writes:
            log.put_write(tx, run.id, namespace, checkpoint_id, write)
        return tx.rows[-1].seq if tx.rows else 0

    log.append_once = runs.append_once = append


def early(answers: bool, rows: bool) -> None:
    """What must wait for the commit does not."""
    settle = Writer._settle

    def commit(self: Writer, connection: sqlite3.Connection, group: Any) -> Any:
        if not group:
            return commit_of_others(self, connection, group)
        written: list[Any] = []
        connection.begin()
        outcomes = [(future, *_apply(connection, command, written)) for command, future in group]
        self._call(settle, self, written if rows else [], outcomes if answers else [])
        time.sleep(0.05)
        connection.execute("COMMIT")
        self._call(settle, self, [] if rows else written, [] if answers else outcomes)
        return [], []

    commit_of_others = Writer._commit
    Writer._commit = commit


def mixed() -> None:
    """A new attempt does not take back what the one before it had said."""
    unfinished = RunView.unfinished
    RunView.unfinished = lambda self: msgspec.structs.replace(unfinished(self), spans=[])


def rerun() -> None:
    """Results of nodes are not stored."""
    log.put_write = lambda *_: None
    transactions.put_checkpoint = lambda tx, fence, expected, events, _: transactions.append(
        tx, fence, expected, events
    )


def twice() -> None:
    """A repeated request is another message."""
    accept = transactions.accept
    transactions.accept = lambda tx, a: accept(tx, msgspec.structs.replace(a, idempotency=None))


def two_ends() -> None:
    """A run ends twice."""
    finish = transactions.finish

    def ending(tx: Any, fence: Any, expected: int, events: Any, **rest: Any) -> Any:
        successor = finish(tx, fence, expected, events, **rest)
        run = tx.existing_run(fence.run_id)
        log.number(tx, run.thread_id, run.id, run.attempt, events[-1:])
        return successor

    transactions.finish = ending


def cancelled_again() -> None:
    """A run that has ended is cancelled all the same."""
    cancel = transactions.cancel

    def again(tx: Any, run_id: str, by: str, events: Any, result: bytes) -> Any:
        run = cancel(tx, run_id, by, events, result)
        if run.ended:
            log.number(tx, run.thread_id, run_id, run.attempt, events)
        return run

    transactions.cancel = again


def unsaved() -> None:
    """What was said before a run was cancelled is not stored."""
    store = runs.store_reply
    runs.store_reply = lambda tx, message: None if message.partial else store(tx, message)


def forgetful() -> None:
    """What a run leaves for the next one is not stored, one time in three."""
    store = runs.store_graph_state
    calls = itertools.count()
    runs.store_graph_state = lambda *given: store(*given) if next(calls) % 3 else None


def hasty() -> None:
    """Every other worker counts as dead, whatever its lock and its lease say."""
    SqliteBackend.is_gone = lambda *_: True


def skipping() -> None:
    """A reader that comes back is not given the first event behind its cursor."""
    begin = Framer.__init__

    def later(self: Framer, dialect: Any, after: Any) -> None:
        begin(self, dialect, after._replace(seq=after.seq + 1) if after.seq else after)

    Framer.__init__ = later


def charged() -> None:
    """A run that is handed back at SIGTERM counts as one that has killed its process."""
    hand_back = transactions.hand_back
    transactions.hand_back = lambda tx, fence, charged: hand_back(tx, fence, True)


def boundless() -> None:
    """Whatever a client does not read is kept in memory for it."""

    async def at_once(_: FlowControl) -> None:
        await asyncio.sleep(0)

    FlowControl.drain = at_once


PLANTS = {
    "cancelled_again": cancelled_again,
    "unsaved": unsaved,
    "forgetful": forgetful,
    "hasty": hasty,
    "skipping": skipping,
    "charged": charged,
    "boundless": boundless,
    "duplicate": duplicate,
    "gap": gap,
    "skipped_number": skipped_number,
    "changed": changed,
    "no_fence": no_fence,
    "acknowledged_early": lambda: early(answers=True, rows=False),
    "delivered_early": lambda: early(answers=False, rows=True),
    "mixed": mixed,
    "rerun": rerun,
    "twice": twice,
    "two_ends": two_ends,
}

if __name__ == "__main__":
    PLANTS[sys.argv.pop(1)]()
    main()
