"""Threads, their names, and what their last runs left for the next ones."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, FromClause, and_, exists, select

from antiphon.data import schema
from antiphon.data.reads.records import all_records, first_record
from antiphon.data.records import GraphState, Thread


def thread(connection: Connection, thread_id: str) -> Thread | None:
    """Return a thread by id."""
    table = schema.threads
    return first_record(connection, Thread, select(table).where(table.c.id == thread_id))


def named_thread(connection: Connection, user_id: str, namespace: str, name: str) -> Thread | None:
    """Return the thread that a client of this user calls `name`."""
    names, threads = schema.thread_names, schema.threads
    query = (
        select(threads)
        .join(names, names.c.thread_id == threads.c.id)
        .where(names.c.user_id == user_id, names.c.namespace == namespace, names.c.name == name)
    )
    return first_record(connection, Thread, query)


def thread_names(connection: Connection, user_id: str, namespace: str) -> dict[str, str]:
    """Return what a user's clients call their threads in one namespace, by the threads' ids."""
    table = schema.thread_names
    query = select(table.c.thread_id, table.c.name).where(
        table.c.user_id == user_id, table.c.namespace == namespace
    )
    return {row.thread_id: row.name for row in connection.execute(query)}


def threads_of(connection: Connection, user_id: str, limit: int) -> list[Thread]:
    """Return a user's threads, the newest first."""
    table = schema.threads
    query = select(table).where(table.c.user_id == user_id)
    newest_first = query.order_by(table.c.updated_at.desc(), table.c.id.desc())
    return all_records(connection, Thread, newest_first.limit(limit))


def thread_state(connection: Connection, thread_id: str) -> bytes:
    """Return what the thread's last run left for the next one; empty if it left nothing."""
    table = schema.thread_states
    value = connection.scalar(select(table.c.value).where(table.c.thread_id == thread_id))
    return bytes(value or b"")


def graph_state(connection: Connection, graph: str, message_id: str) -> GraphState | None:
    """Return the nearest state of the graph on the branch of messages that ends with this one."""
    messages, states = schema.messages, schema.graph_states

    def left_at(message: FromClause) -> ColumnElement[bool]:
        same_thread = states.c.thread_id == message.c.thread_id
        return and_(same_thread, states.c.message_id == message.c.id, states.c.graph == graph)

    has_state = exists().where(left_at(messages)).label("has_state")
    step = select(messages.c.id, messages.c.parent_id, messages.c.thread_id, has_state)
    path = step.where(messages.c.id == message_id).cte("path", recursive=True)
    path = path.union_all(step.where(messages.c.id == path.c.parent_id, ~path.c.has_state))
    row = connection.execute(select(states).where(path.c.has_state, left_at(path))).first()
    if row is None:
        return None
    return GraphState(graph=graph, message_id=row.message_id, value=bytes(row.value))
