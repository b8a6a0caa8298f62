"""Messages of a conversation, whole or along one branch of their tree."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, FromClause, and_, literal, select

from antiphon.data import schema
from antiphon.data.reads.records import all_records
from antiphon.data.records import Message


def messages_of(connection: Connection, thread_id: str) -> list[Message]:
    """Return the messages of a thread, the oldest first, without replies that are still empty."""
    table = schema.messages
    query = select(table).where(table.c.thread_id == thread_id, ~_empty_reply(table))
    in_order = query.order_by(table.c.position)  # not by time: replies get their places early
    return all_records(connection, Message, in_order)


def branch(connection: Connection, message_id: str, after: str | None = None) -> list[Message]:
    """Return a message and those it follows, the oldest first, without empty replies.

    The branch begins with the thread's first message, or after the message `after` if that is
    on it.
    """
    table = schema.messages
    newest = select(table, literal(0).label("depth")).where(table.c.id == message_id)
    path = newest.cte("path", recursive=True)
    older = select(table, path.c.depth + 1).where(table.c.id == path.c.parent_id)
    if after:
        older = older.where(table.c.id != after)
    path = path.union_all(older)
    query = select(path).where(~_empty_reply(path)).order_by(path.c.depth.desc())
    return all_records(connection, Message, query)


def _empty_reply(messages: FromClause) -> ColumnElement[bool]:
    """Return the condition of a place that is held for a reply which has no text yet."""
    return and_(messages.c.role == "assistant", messages.c.content == "", messages.c.partial)
