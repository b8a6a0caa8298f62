"""What the tests of `data` share: records with defaults, runs, rows as stored, another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from antiphon.data import transactions
from antiphon.data.base import WritingConnection
from antiphon.data.database import Database
from antiphon.data.ids import new_id
from antiphon.data.records import (
    Acceptance,
    Checkpoint,
    CheckpointWrite,
    Fence,
    Message,
    NewEvent,
    Row,
    RunRecord,
    Thread,
)

ROOT = Path(__file__).parents[2]
R = TypeVar("R", bound=msgspec.Struct)
PATIENCE = 20
"""Seconds after which something that must happen has failed."""
TABLES = {"events": Row, "threads": Thread, "messages": Message, "runs": RunRecord}


def note(payload: bytes = b"", kind: str = "note", at: int = 1) -> NewEvent:
    return NewEvent(type=kind, payload=payload, at=at)


def notes(count: int, kind: str = "note") -> list[NewEvent]:
    return [note(b"%d" % number, kind) for number in range(count)]


def acceptance(**given: Any) -> Acceptance:
    """A message for a new thread of user `ada`, with one first event, unless told otherwise."""
    defaults = {
        "run_id": new_id(),
        "message_id": new_id(),
        "reply_message_id": new_id(),
        "user_id": "ada",
        "graph": "team",
        "content": "hello",
        "input": b"{}",
        "at": 1,
        "worker": "worker",
        "events": lambda thread, message: [note(kind="start")],
    }
    return Acceptance(**(defaults | given))


async def running(database: Database, **fields: Any) -> tuple[RunRecord, Fence]:
    """A run of this process that has just been accepted, and the right to write for it."""
    accepted = await database.write(
        transactions.accept, acceptance(worker=database.worker_id, **fields)
    )
    run = accepted.run
    return run, Fence(run_id=run.id, epoch=run.lease_epoch)


def reply(run: RunRecord, **given: Any) -> Message:
    """What a run has to say, at the place that was held for it."""
    defaults = {
        "id": run.reply_message_id,
        "thread_id": run.thread_id,
        "run_id": run.id,
        "role": "assistant",
        "content": "hi",
        "parent_id": run.input_message_id,
        "author": None,
        "partial": False,
        "created_at": run.created_at + 1,
    }
    return Message(**(defaults | given))


def answered(run: RunRecord, **given: Any) -> tuple[Message, str]:
    """A human's answer to a run's question, and the id that the next reply will have."""
    message = reply(
        run, id=new_id(), role="user", content="yes", parent_id=run.reply_message_id, author="ada"
    )
    return msgspec.structs.replace(message, **given), new_id()


def checkpoint(
    checkpoint_id: str = "c1", namespace: str = "", value: bytes = b"state"
) -> Checkpoint:
    return Checkpoint(
        namespace=namespace,
        id=checkpoint_id,
        parent_id=None,
        kind="msgpack",
        value=value,
        metadata=b"{}",
    )


def task_write(
    position: int = 0, value: bytes = b"w", task_id: str = "t1", task_path: str = "~pull"
) -> CheckpointWrite:
    return CheckpointWrite(
        task_id=task_id,
        task_path=task_path,
        position=position,
        channel="messages",
        kind="msgpack",
        value=value,
        replace=position < 0,
    )


def stored(connection: WritingConnection, record: type[R]) -> list[R]:
    """All records of a kind, read by plain SQL."""
    table = next(name for name, kept in TABLES.items() if kept is record)
    fields = record.__struct_fields__
    rows = connection.execute(f"SELECT {', '.join(fields)} FROM {table} ORDER BY 1, 2").fetchall()
    return [
        msgspec.convert(dict(zip(fields, row, strict=True)), record, strict=False) for row in rows
    ]


class Peer:
    """Another process that has the same database open."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.data.peer", f"sqlite:///{path}"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.worker_id = self._answer()["worker_id"]

    def accept(self, thread_id: str | None = None) -> dict[str, Any]:
        """Let it accept a message; it answers with `run_id` and `thread_id`."""
        return self._ask(do="accept", thread_id=thread_id)

    def block(self) -> None:
        """Let it hold a write transaction open for ever."""
        self._ask(do="block")

    def _ask(self, **wanted: Any) -> dict[str, Any]:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def stop(self) -> None:
        """SIGSTOP, and standing still when this returns."""
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)

    def kill(self) -> None:
        """kill -9, and gone when this returns."""
        self.process.kill()
        self.process.wait()


@contextmanager
def peer(path: Path) -> Iterator[Peer]:
    other = Peer(path)
    try:
        yield other
    finally:
        other.kill()
        for pipe in (other.process.stdin, other.process.stdout):
            assert pipe
            pipe.close()
