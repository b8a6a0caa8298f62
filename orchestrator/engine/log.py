"""Records of the log as events, and events as records."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import msgspec

from antiphon.data.database import Database
from antiphon.data.records import Message, NewEvent, Row, RunRecord
from antiphon.orchestrator.events import AnyEvent, Custom, MessageBody, Recorded, decode, encode

log = logging.getLogger("antiphon.run")

UNREADABLE = "unreadable"
"""The name of the custom event that replaces a row which cannot be read."""
PAGE = 1000
"""How many rows of a run are read at once."""


def recorded(row: Row) -> Recorded:
    """Return a stored row as an event with its place.

    A row that cannot be read (a newer version wrote it, or the file is damaged) becomes a custom
    event that says so, as one bad row must not hide the rest of a thread.
    """
    try:
        event = decode(row.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.exception("event %d of thread %s cannot be read", row.seq, row.thread_id)
        event = Custom(name=UNREADABLE, value={"type": row.type})
    return Recorded(
        thread_id=row.thread_id,
        seq=row.seq,
        run_id=row.run_id,
        attempt=row.attempt,
        at=row.at,
        event=event,
    )


async def events_so_far(database: Database, run: RunRecord) -> AsyncIterator[Recorded]:
    """Yield the events that a run has now."""
    after = run.first_seq - 1
    while rows := await database.read(run.thread_id, after, PAGE):
        after = rows[-1].seq
        for row in rows:
            if row.run_id == run.id:
                yield recorded(row)


def new_event(event: AnyEvent, at: int) -> NewEvent:
    """Return an event as the log takes it. `at` is in ms."""
    return NewEvent(type=event.type, payload=encode(event), at=at)


def body_of(message: Message) -> MessageBody:
    """Return a stored message as events carry it."""
    return MessageBody(
        id=message.id,
        role=message.role,
        content=message.content,
        parent=message.parent_id,
        author=message.author,
        partial=message.partial,
    )
