"""Events of a thread, in the order of their numbers."""

from __future__ import annotations

from sqlalchemy import Connection, select

from antiphon.data import schema
from antiphon.data.reads.records import all_records
from antiphon.data.records import Row


def events_after(connection: Connection, thread_id: str, after: int, limit: int) -> list[Row]:
    """Return rows with `seq > after`, at most `limit`."""
    table = schema.events
    query = select(table).where(table.c.thread_id == thread_id, table.c.seq > after)
    return all_records(connection, Row, query.order_by(table.c.seq).limit(limit))
