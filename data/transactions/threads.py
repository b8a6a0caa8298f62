"""Threads: created before or with their first message; and what one turn leaves for the next."""

from __future__ import annotations

from antiphon.data import records
from antiphon.data.errors import Busy, NotFound
from antiphon.data.ids import new_id
from antiphon.data.records import Acceptance, GraphState, Thread, may
from antiphon.data.transactions.transaction import Transaction, insertion

ACTIVE = f"({', '.join(map(repr, records.ACTIVE))})"


def create_thread(tx: Transaction, thread: Thread, state: bytes = b"") -> None:
    """Store an empty thread, with the state for its first run. An existing one stays as it is."""
    values = {field: getattr(thread, field) for field in Thread.__struct_fields__}
    sql = (
        f"{insertion('threads', Thread.__struct_fields__)} ON CONFLICT (id) DO NOTHING RETURNING id"
    )
    if tx.one(sql, **values):
        store_state(tx, thread.id, state)


def delete_thread(tx: Transaction, thread_id: str) -> None:
    """Delete a thread and all that is in it. Raises `Busy` while one of its runs has not ended."""
    active = f"SELECT 1 FROM runs WHERE thread_id = :thread_id AND status IN {ACTIVE}"  # noqa: S608
    if tx.one(active, thread_id=thread_id):
        raise Busy(thread_id)
    of_runs = "run_id IN (SELECT id FROM runs WHERE thread_id = :thread_id)"
    for table in ("checkpoints", "checkpoint_writes", "requests", "positions"):
        tx.execute(f"DELETE FROM {table} WHERE {of_runs}", thread_id=thread_id)  # noqa: S608
    for table in ("events", "messages", "runs", "thread_names", "thread_states", "graph_states"):
        tx.execute(f"DELETE FROM {table} WHERE thread_id = :thread_id", thread_id=thread_id)  # noqa: S608
    tx.execute("DELETE FROM threads WHERE id = :thread_id", thread_id=thread_id)


def thread_for(tx: Transaction, acceptance: Acceptance) -> Thread:
    """Return the thread of a message, a new one if need be. Raises `NotFound`."""
    thread_id = acceptance.thread_id
    if thread_id is None and acceptance.thread_name is not None:
        namespace, name = acceptance.thread_name
        row = tx.one(
            "SELECT thread_id FROM thread_names"
            " WHERE user_id = :user_id AND namespace = :namespace AND name = :name",
            user_id=acceptance.user_id,
            namespace=namespace,
            name=name,
        )
        thread_id = row[0] if row else None
    if thread_id is None:
        return _new_thread(tx, acceptance)
    thread = tx.thread(thread_id)
    if thread is None or not may(acceptance.user_id, thread):
        raise NotFound(thread_id)
    return thread


def _new_thread(tx: Transaction, acceptance: Acceptance) -> Thread:
    thread = Thread(
        id=new_id(),
        user_id=acceptance.user_id,
        title=None,
        created_at=acceptance.at,
        updated_at=acceptance.at,
        last_seq=0,
        head_message_id=None,
    )
    tx.insert("threads", thread)
    if acceptance.thread_name is not None:
        namespace, name = acceptance.thread_name
        tx.execute(
            insertion("thread_names", ("user_id", "namespace", "name", "thread_id")),
            user_id=acceptance.user_id,
            namespace=namespace,
            name=name,
            thread_id=thread.id,
        )
    return thread


def store_state(tx: Transaction, thread_id: str, state: bytes) -> None:
    """Store what the thread's next run begins from, empty for nothing."""
    tx.execute("DELETE FROM thread_states WHERE thread_id = :thread_id", thread_id=thread_id)
    if state:
        statement = insertion("thread_states", ("thread_id", "value"))
        tx.execute(statement, thread_id=thread_id, value=state)


def store_graph_state(tx: Transaction, thread_id: str, state: GraphState) -> None:
    """Store a graph's state; of its other ones keep only the one that this one follows."""
    tx.execute(
        "DELETE FROM graph_states"
        " WHERE thread_id = :thread_id AND graph = :graph AND message_id <> :follows",
        thread_id=thread_id,
        graph=state.graph,
        follows=state.follows or "",  # no message has an empty id
    )
    tx.execute(
        insertion("graph_states", ("thread_id", "graph", "message_id", "value")),
        thread_id=thread_id,
        graph=state.graph,
        message_id=state.message_id,
        value=state.value,
    )
