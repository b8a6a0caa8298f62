"""What the writer does inside a transaction: numbering, fencing and storing. SQLite's dialect of SQL.

Every function takes the writer's connection and returns a value, or raises before it has changed anything that its
savepoint does not undo. Rows that become visible with the commit are collected in `Transaction.rows`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from antiphon.data import records
from antiphon.data.errors import Busy, Fenced, IdempotencyConflict, NotFound
from antiphon.data.ids import new_id
from antiphon.data.records import (
    Acceptance,
    Accepted,
    Checkpoint,
    CheckpointWrite,
    Fence,
    Flow,
    GraphState,
    ItemWrite,
    Message,
    Namespace,
    NewEvent,
    Row,
    Run,
    RunStatus,
    Thread,
)

RUN_COLUMNS = ", ".join(Run.__struct_fields__)
THREAD_COLUMNS = ", ".join(Thread.__struct_fields__)
MESSAGE_COLUMNS = ", ".join(Message.__struct_fields__)

ACTIVE = f"({', '.join(map(repr, records.ACTIVE))})"
DAY_MS = 86_400_000
TAKEN = "('running', 'interrupted')"

Writes = Sequence[tuple[str, str, CheckpointWrite]]


class Transaction:
    """One savepoint of the writer's open transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.rows: list[Row] = []

    def one(self, sql: str, *values: Any) -> tuple[Any, ...] | None:
        """The first row of a statement, or None."""
        row: tuple[Any, ...] | None = self.connection.execute(sql, values).fetchone()
        return row

    def run(self, run_id: str) -> Run | None:
        """A run by id."""
        row = self.one(f"SELECT {RUN_COLUMNS} FROM runs WHERE id = ?", run_id)
        return Run(**dict(zip(Run.__struct_fields__, row, strict=True))) if row else None

    def existing_run(self, run_id: str) -> Run:
        """A run that must be there."""
        run = self.run(run_id)
        if run is None:
            raise NotFound(run_id)
        return run


def accept(tx: Transaction, a: Acceptance) -> Accepted:
    """Store a message, its run and their first events; claim the run for `a.worker` where the thread is idle."""
    if a.idempotency and (earlier := repeated(tx, a.user_id, *a.idempotency)):
        return Accepted(run=earlier, created=False)
    if tx.one("SELECT 1 FROM messages WHERE id = ?", a.message_id):
        raise IdempotencyConflict(a.message_id)
    thread = _thread_for(tx, a)
    active = tx.connection.execute(
        f"SELECT id, input_message_id FROM runs WHERE thread_id = ? AND status IN {ACTIVE} ORDER BY first_seq",
        (thread.id,),
    ).fetchall()
    if active and a.on_busy == "reject":
        raise Busy(thread.id)
    message = Message(
        id=a.message_id,
        thread_id=thread.id,
        run_id=a.run_id,
        role="user",
        content=a.content,
        parent_id=_parent_for(tx, thread, a, active),
        author=a.user_id,
        partial=False,
        created_at=a.at,
    )
    _insert_message(tx, message)
    _insert_message(tx, _place_for_reply(message, a.reply_message_id))
    claimed = not active
    tx.connection.execute(
        "INSERT INTO runs (id, thread_id, user_id, graph, status, input, input_message_id, reply_message_id, attempt,"
        " charges, crashes, lease_epoch, owner, emitted, first_seq, created_at)"
        " VALUES (?,?,?,?,?,?,?,?,?,?,0,?,?,0,?,?)",
        (
            *(a.run_id, thread.id, a.user_id, a.graph, "running" if claimed else "queued", a.input),
            *(a.message_id, a.reply_message_id, int(claimed), int(claimed), int(claimed)),
            *(a.worker if claimed else None, thread.last_seq + 1, a.at),
        ),
    )
    if a.idempotency:
        tx.connection.execute("INSERT INTO requests VALUES (?,?,?,?)", (a.user_id, *a.idempotency, a.run_id))
    interrupted: tuple[str, ...] = ()
    if active and a.on_busy in ("interrupt", "rollback"):
        interrupted = tuple(run_id for run_id, _ in active)
        for run_id in interrupted:
            _ask_to_stop(tx, run_id, a.user_id)
    _number(tx, thread.id, a.run_id, 1, a.events(thread, message))
    tx.connection.execute("UPDATE runs SET emitted = ? WHERE id = ?", (len(tx.rows), a.run_id))
    return Accepted(run=tx.existing_run(a.run_id), created=True, interrupted=interrupted)


def repeated(tx: Transaction, user_id: str, key: str, digest: bytes) -> Run | None:
    """The run of an earlier request with the same key; a key that was used for another request is a conflict."""
    found = tx.one("SELECT digest, run_id FROM requests WHERE user_id = ? AND key = ?", user_id, key)
    if found is None:
        return None
    if found[0] != digest:
        raise IdempotencyConflict(key)
    return tx.existing_run(found[1])


def _thread_for(tx: Transaction, a: Acceptance) -> Thread:
    thread_id = a.thread_id
    if thread_id is None and a.thread_name is not None:
        found = tx.one(
            "SELECT thread_id FROM thread_names WHERE user_id = ? AND namespace = ? AND name = ?",
            a.user_id,
            *a.thread_name,
        )
        thread_id = found[0] if found else None
    if thread_id is None:
        return _new_thread(tx, a)
    row = tx.one(f"SELECT {THREAD_COLUMNS} FROM threads WHERE id = ? AND user_id = ?", thread_id, a.user_id)
    if row is None:
        raise NotFound(thread_id)
    return Thread(**dict(zip(Thread.__struct_fields__, row, strict=True)))


def _parent_for(tx: Transaction, thread: Thread, a: Acceptance, active: Sequence[tuple[str, str]]) -> str | None:
    """What the message follows: the thread's head, or after a rollback what the first run under way had followed."""
    if active and a.on_busy == "rollback":
        found = tx.one("SELECT parent_id FROM messages WHERE id = ?", active[0][1])
        return found[0] if found else None
    return thread.head_message_id


def _new_thread(tx: Transaction, a: Acceptance) -> Thread:
    thread = Thread(
        id=new_id(),
        user_id=a.user_id,
        title=None,
        created_at=a.at,
        updated_at=a.at,
        last_seq=0,
        head_message_id=None,
    )
    tx.connection.execute(
        f"INSERT INTO threads ({THREAD_COLUMNS}) VALUES (?,?,?,?,?,?,?)",
        tuple(getattr(thread, field) for field in Thread.__struct_fields__),
    )
    if a.thread_name is not None:
        tx.connection.execute("INSERT INTO thread_names VALUES (?,?,?,?)", (a.user_id, *a.thread_name, thread.id))
    return thread


def _place_for_reply(message: Message, reply_id: str) -> Message:
    """The reply's place in the tree, held from the beginning: a message that comes meanwhile stands behind it."""
    return msgspec.structs.replace(
        message, id=reply_id, role="assistant", content="", parent_id=message.id, author=None, partial=True
    )


def _insert_message(tx: Transaction, message: Message) -> None:
    tx.connection.execute(
        f"INSERT INTO messages ({MESSAGE_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?)",
        tuple(getattr(message, field) for field in Message.__struct_fields__),
    )
    tx.connection.execute(
        "UPDATE threads SET head_message_id = ?, updated_at = ? WHERE id = ?",
        (message.id, message.created_at, message.thread_id),
    )


def _number(tx: Transaction, thread_id: str, run_id: str, attempt: int, events: Sequence[NewEvent]) -> None:
    """Give events the thread's next numbers and store them. The thread row's update is what makes numbers dense."""
    if not events:
        return
    found = tx.one("UPDATE threads SET last_seq = last_seq + ? WHERE id = ? RETURNING last_seq", len(events), thread_id)
    if found is None:
        raise NotFound(thread_id)
    first = found[0] - len(events) + 1
    rows = [
        Row(thread_id=thread_id, seq=seq, run_id=run_id, attempt=attempt, type=e.type, at=e.at, payload=e.payload)
        for seq, e in enumerate(events, first)
    ]
    tx.connection.executemany(
        "INSERT INTO events VALUES (?,?,?,?,?,?,?)",
        [(r.thread_id, r.seq, r.run_id, r.attempt, r.type, r.at, r.payload) for r in rows],
    )
    tx.rows.extend(rows)


def append(
    tx: Transaction,
    fence: Fence,
    expected: int,
    events: Sequence[NewEvent],
    writes: Writes = (),
    completed: bool = False,
) -> int | None:
    """Number and store events under the fence, with the writes of finished tasks.

    `completed` says that a node has completed: only the execution under way stays charged. Returns the number of the
    last one stored here (0 where there were none), or None when exactly this append was
    stored before and only its answer got lost: then nothing is done again.
    """
    found = tx.one(
        "UPDATE runs SET emitted = emitted + ?, charges = CASE WHEN ? THEN 1 ELSE charges END"
        " WHERE id = ? AND lease_epoch = ? AND emitted = ? AND status = 'running' RETURNING thread_id, attempt",
        *(len(events), completed, fence.run_id, fence.epoch, expected),
    )
    if found is None:
        _refuse_unless_repeated(tx, fence, expected, events)
        return None
    _number(tx, found[0], fence.run_id, found[1], events)
    for namespace, checkpoint_id, write in writes:
        _put_write(tx, fence.run_id, namespace, checkpoint_id, write)
    return tx.rows[-1].seq if tx.rows else 0


def _refuse_unless_repeated(tx: Transaction, fence: Fence, expected: int, events: Sequence[NewEvent]) -> None:
    """Raise `Fenced` unless exactly these events are the run's last ones, stored under the same fence."""
    run = tx.run(fence.run_id)
    if not events or run is None or run.lease_epoch != fence.epoch or run.emitted != expected + len(events):
        raise Fenced(fence.run_id)
    stored = tx.connection.execute(
        "SELECT type, payload, at FROM events WHERE thread_id = ? AND seq >= ? AND run_id = ?"
        " ORDER BY seq DESC LIMIT ?",
        (run.thread_id, run.first_seq, run.id, len(events)),
    ).fetchall()
    if stored[::-1] != [(event.type, event.payload, event.at) for event in events]:
        raise Fenced(fence.run_id)


def _put_write(tx: Transaction, run_id: str, namespace: str, checkpoint_id: str, w: CheckpointWrite) -> None:
    tx.connection.execute(
        f"INSERT OR {'REPLACE' if w.replace else 'IGNORE'} INTO checkpoint_writes"
        " (run_id, namespace, checkpoint_id, task_id, position, task_path, channel, kind, value)"
        " VALUES (?,?,?,?,?,?,?,?,?)",
        (run_id, namespace, checkpoint_id, w.task_id, w.position, w.task_path, w.channel, w.kind, w.value),
    )


def put_checkpoint(
    tx: Transaction, fence: Fence, expected: int, events: Sequence[NewEvent], c: Checkpoint
) -> int | None:
    """Store a checkpoint and the events before it, under the fence. Returns what `append` does."""
    last_seq = append(tx, fence, expected, events)
    tx.connection.execute(
        "INSERT OR REPLACE INTO checkpoints (run_id, namespace, id, parent_id, kind, value, metadata)"
        " VALUES (?,?,?,?,?,?,?)",
        (fence.run_id, c.namespace, c.id, c.parent_id, c.kind, c.value, c.metadata),
    )
    return last_seq


def finish(  # noqa: PLR0913, PLR0917 - all that one commit stores
    tx: Transaction,
    fence: Fence,
    expected: int,
    events: Sequence[NewEvent],
    status: RunStatus,
    message: Message | None,
    result: bytes,
    tokens: int = 0,
    state: bytes | None = None,
    graph_state: GraphState | None = None,
) -> str | None:
    """End a run: last events, reply, status, spending and states; its checkpoints can go."""
    if append(tx, fence, expected, events) is not None:
        if message is not None:
            _store_reply(tx, message)
        _end(tx, fence.run_id, status, result, events[-1].at)
        tx.connection.execute(
            "INSERT INTO usage SELECT user_id, ?, ? FROM runs WHERE id = ?"
            " ON CONFLICT DO UPDATE SET tokens = tokens + excluded.tokens",
            (events[-1].at // DAY_MS, tokens, fence.run_id),
        )
        if state is not None:
            _store_state(tx, tx.existing_run(fence.run_id).thread_id, state)
        if graph_state is not None:
            _store_graph_state(tx, tx.existing_run(fence.run_id).thread_id, graph_state)
    return _next_queued(tx, tx.existing_run(fence.run_id).thread_id)


def _store_state(tx: Transaction, thread_id: str, state: bytes) -> None:
    tx.connection.execute("DELETE FROM thread_states WHERE thread_id = ?", (thread_id,))
    if state:
        tx.connection.execute("INSERT INTO thread_states VALUES (?,?)", (thread_id, state))


def _store_graph_state(tx: Transaction, thread_id: str, state: GraphState) -> None:
    """Keep a state and the one that it follows, if any; forget the graph's other ones."""
    tx.connection.execute(
        "DELETE FROM graph_states WHERE thread_id = ? AND graph = ? AND message_id IS NOT ?",
        (thread_id, state.graph, state.follows),
    )
    tx.connection.execute(
        "INSERT INTO graph_states (thread_id, graph, message_id, value) VALUES (?,?,?,?)",
        (thread_id, state.graph, state.message_id, state.value),
    )


def _store_reply(tx: Transaction, message: Message) -> None:
    tx.connection.execute(
        "UPDATE messages SET content = ?, author = ?, partial = ?, created_at = ? WHERE id = ?",
        (message.content, message.author, message.partial, message.created_at, message.id),
    )
    tx.connection.execute("UPDATE threads SET updated_at = ? WHERE id = ?", (message.created_at, message.thread_id))


def _end(tx: Transaction, run_id: str, status: RunStatus, result: bytes, at: int) -> None:
    tx.connection.execute(
        "UPDATE runs SET status = ?, result = ?, finished_at = ?, owner = NULL,"
        " last_seq = (SELECT last_seq FROM threads WHERE id = runs.thread_id) WHERE id = ?",
        (status, result, at, run_id),
    )
    tx.connection.execute("DELETE FROM checkpoints WHERE run_id = ?", (run_id,))
    tx.connection.execute("DELETE FROM checkpoint_writes WHERE run_id = ?", (run_id,))


def _next_queued(tx: Transaction, thread_id: str) -> str | None:
    found = tx.one(
        "SELECT id FROM runs WHERE thread_id = ? AND status = 'queued' ORDER BY first_seq LIMIT 1", thread_id
    )
    return found[0] if found else None


def claim(tx: Transaction, run_id: str, worker: str, held_by: str | None) -> Run | None:
    """Become the writer of a queued run, or of a running one that is still held by `held_by`."""
    run = tx.existing_run(run_id)
    if held_by is None:
        first = _next_queued(tx, run.thread_id) == run_id
        taken = tx.one(f"SELECT 1 FROM runs WHERE thread_id = ? AND status IN {TAKEN}", run.thread_id)
        allowed = first and not taken
    else:
        allowed = run.status == "running" and run.owner == held_by
    return _take(tx, run_id, worker, charge=1, crash=int(held_by is not None)) if allowed else None


def _take(tx: Transaction, run_id: str, worker: str, charge: int, crash: int = 0) -> Run:
    tx.connection.execute(
        "UPDATE runs SET status = 'running', owner = ?, lease_epoch = lease_epoch + 1, attempt = attempt + ?,"
        " charges = charges + ?, crashes = crashes + ? WHERE id = ?",
        (worker, charge, charge, crash, run_id),
    )
    return tx.existing_run(run_id)


def pause(
    tx: Transaction,
    fence: Fence,
    expected: int,
    events: Sequence[NewEvent],
    message: Message | None = None,
    writes: Writes = (),
) -> None:
    """Store events that end with a question, the question as the reply so far, and let go of the run."""
    if append(tx, fence, expected, events, writes, completed=bool(writes)) is not None:
        if message is not None:
            _store_reply(tx, message)
        tx.connection.execute(
            "UPDATE runs SET owner = NULL, status = CASE WHEN cancel_requested_by IS NULL THEN 'interrupted'"
            " ELSE 'queued' END WHERE id = ?",  # one that was asked to stop meanwhile is queued, to be ended
            (fence.run_id,),
        )


def answer(  # noqa: PLR0913, PLR0917 - all that one commit stores
    tx: Transaction,
    run_id: str,
    worker: str,
    events: Sequence[NewEvent],
    message: Message,
    reply_id: str,
    idempotency: tuple[str, str, bytes] | None = None,
) -> Run | None:
    """Take a paused run up again; the answer is the first thing of the new lease. Not a new attempt."""
    paused = tx.existing_run(run_id)
    if paused.status != "interrupted" or (idempotency and repeated(tx, *idempotency)):
        return None
    if message.parent_id != paused.reply_message_id:  # it answers an earlier question
        return None
    if idempotency:
        tx.connection.execute("INSERT INTO requests VALUES (?,?,?,?)", (*idempotency, run_id))
    _put_behind(tx, paused, message, reply_id)
    run = _take(tx, run_id, worker, charge=0)
    append(tx, Fence(run_id=run_id, epoch=run.lease_epoch), run.emitted, events)
    return tx.existing_run(run_id)


def _put_behind(tx: Transaction, run: Run, message: Message, reply_id: str) -> None:
    """Put an answer behind the question, and the place of the next reply behind that.

    Messages that wait for this run's end stand behind its last reply, and stay the thread's newest.
    """
    head = tx.one("SELECT head_message_id FROM threads WHERE id = ?", run.thread_id)
    tx.connection.execute("UPDATE messages SET parent_id = ? WHERE parent_id = ?", (reply_id, run.reply_message_id))
    _insert_message(tx, message)
    _insert_message(tx, _place_for_reply(message, reply_id))
    if head is not None and head[0] != run.reply_message_id:
        tx.connection.execute("UPDATE threads SET head_message_id = ? WHERE id = ?", (head[0], run.thread_id))
    tx.connection.execute("UPDATE runs SET reply_message_id = ? WHERE id = ?", (reply_id, run.id))


def cancel(tx: Transaction, run_id: str, by: str, events: Sequence[NewEvent], result: bytes) -> Run:
    """Ask the run's worker to stop; end it here and now if it never began. One that was let go of is queued, to be
    ended by an execution that knows what it had said."""
    run = tx.existing_run(run_id)
    if run.status == "running" or (not run.ended and run.attempt > 0):
        _ask_to_stop(tx, run_id, by)
    elif not run.ended:
        _number(tx, run.thread_id, run_id, max(run.attempt, 1), events)
        tx.connection.execute("UPDATE runs SET emitted = emitted + ? WHERE id = ?", (len(events), run_id))
        _end(tx, run_id, "cancelled", result, events[-1].at)
    return tx.existing_run(run_id)


def _ask_to_stop(tx: Transaction, run_id: str, by: str) -> None:
    """Leave word for whoever executes a run. A paused one is queued: nobody would come to execute it otherwise."""
    tx.connection.execute(
        "UPDATE runs SET cancel_requested_by = COALESCE(cancel_requested_by, ?),"
        " status = CASE status WHEN 'interrupted' THEN 'queued' ELSE status END WHERE id = ?",
        (by, run_id),
    )


def hand_back(tx: Transaction, fence: Fence, charged: bool) -> None:
    """Put a run back in the queue."""
    tx.connection.execute(
        "UPDATE runs SET status = 'queued', owner = NULL, charges = max(charges - ?, 0)"
        " WHERE id = ? AND lease_epoch = ? AND status = 'running'",
        (int(not charged), fence.run_id, fence.epoch),
    )


def create_thread(tx: Transaction, thread: Thread, state: bytes = b"") -> None:
    """Store a thread that has nothing in it yet, with what its first run is given; one that is there stays as it is."""
    values = msgspec.structs.astuple(thread)
    created = tx.one(
        f"INSERT INTO threads ({THREAD_COLUMNS}) VALUES ({_marks(values)}) ON CONFLICT DO NOTHING RETURNING id", *values
    )
    if created:
        _store_state(tx, thread.id, state)


def delete_thread(tx: Transaction, thread_id: str) -> None:
    """Forget a thread and all that is in it, once its runs have ended."""
    if tx.one(f"SELECT 1 FROM runs WHERE thread_id = ? AND status IN {ACTIVE}", thread_id):
        raise Busy(thread_id)
    of_runs = "run_id IN (SELECT id FROM runs WHERE thread_id = ?)"
    for table in ("checkpoints", "checkpoint_writes", "requests", "positions"):
        tx.connection.execute(f"DELETE FROM {table} WHERE {of_runs}", (thread_id,))
    for table in ("events", "messages", "runs", "thread_names", "thread_states", "graph_states"):
        tx.connection.execute(f"DELETE FROM {table} WHERE thread_id = ?", (thread_id,))
    tx.connection.execute("DELETE FROM threads WHERE id = ?", (thread_id,))


def save_flow(tx: Transaction, agent_id: str, owner: str, definition: bytes, at: int) -> Flow:
    """Store a definition as the next revision of a flow, its draft."""
    flow = _flow(tx, agent_id)
    if flow is not None and flow.owner != owner:
        raise NotFound(agent_id)
    newest = tx.one("SELECT max(revision) FROM flow_revisions WHERE agent_id = ?", agent_id)
    revision = int(newest[0] or 0) + 1 if newest else 1
    tx.connection.execute("INSERT INTO flow_revisions VALUES (?,?,?,?)", (agent_id, revision, definition, at))
    tx.connection.execute(
        "INSERT INTO flows VALUES (?,?,?,NULL,?,?)"
        " ON CONFLICT (agent_id) DO UPDATE SET draft = excluded.draft, updated_at = excluded.updated_at",
        (agent_id, owner, revision, at, at),
    )
    return _own_flow(tx, agent_id, owner)


def publish_flow(tx: Transaction, agent_id: str, owner: str, at: int, published: bool) -> Flow:
    """Let others run the draft as it is now, or nothing any more."""
    flow = _own_flow(tx, agent_id, owner)
    tx.connection.execute(
        "UPDATE flows SET published = ?, updated_at = ? WHERE agent_id = ?",
        (flow.draft if published else None, at, agent_id),
    )
    return _own_flow(tx, agent_id, owner)


def delete_flow(tx: Transaction, agent_id: str, owner: str) -> None:
    """Forget a flow. Its revisions stay: runs of them may be under way."""
    _own_flow(tx, agent_id, owner)
    tx.connection.execute("DELETE FROM flows WHERE agent_id = ?", (agent_id,))


def _own_flow(tx: Transaction, agent_id: str, owner: str) -> Flow:
    flow = _flow(tx, agent_id)
    if flow is None or flow.owner != owner:
        raise NotFound(agent_id)
    return flow


def _flow(tx: Transaction, agent_id: str) -> Flow | None:
    row = tx.one(f"SELECT {', '.join(Flow.__struct_fields__)} FROM flows WHERE agent_id = ?", agent_id)
    return Flow(**dict(zip(Flow.__struct_fields__, row, strict=True))) if row else None


def save_profile(tx: Transaction, user_id: str, value: bytes | None, at: int) -> None:
    """Store what a user has told about themselves, or forget it."""
    tx.connection.execute("DELETE FROM profiles WHERE user_id = ?", (user_id,))
    if value is not None:
        tx.connection.execute("INSERT INTO profiles VALUES (?,?,?)", (user_id, value, at))


def namespace_text(namespace: Namespace) -> str:
    """A namespace as it is stored: text, so that all namespaces inside another one are a range."""
    return ".".join(namespace)


def put_items(tx: Transaction, writes: Sequence[ItemWrite], at: int) -> None:
    """Store items, each as the newest of all, or forget them."""
    for w in writes:
        namespace = namespace_text(w.namespace)
        former = tx.one(
            "DELETE FROM store_items WHERE namespace = ? AND key = ? RETURNING created_at, expires_at",
            *(namespace, w.key),
        )
        if w.value is None:
            continue
        stays = former is not None and (former[1] is None or former[1] > at)
        created_at = former[0] if former and stays else at
        expires_at = None if w.ttl is None else at + w.ttl
        tx.connection.execute(
            "INSERT INTO store_items"
            " (namespace, key, created_at, updated_at, ttl, expires_at, embedder, value, vectors)"
            " VALUES (?,?,?,?,?,?,?,?,?)",
            (namespace, w.key, created_at, at, w.ttl, expires_at, w.embedder, w.value, w.vectors),
        )


def refresh_items(tx: Transaction, places: Sequence[tuple[Namespace, str]], now: int) -> None:
    """Begin the time of items anew, unless it is over."""
    tx.connection.executemany(
        "UPDATE store_items SET expires_at = ? + ttl WHERE namespace = ? AND key = ? AND expires_at > ?",
        [(now, namespace_text(namespace), key, now) for namespace, key in places],
    )


def sweep_items(tx: Transaction, now: int, limit: int) -> int:
    """Delete items whose time is over."""
    return tx.connection.execute(
        "DELETE FROM store_items WHERE revision IN (SELECT revision FROM store_items WHERE expires_at <= ? LIMIT ?)",
        (now, limit),
    ).rowcount


def _marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def remember(tx: Transaction, key: tuple[str, str, str], run_id: str, seq: float) -> None:
    """Store how much of which run a connection has been shown."""
    tx.connection.execute("INSERT OR REPLACE INTO positions VALUES (?,?,?,?,?)", (*key, run_id, seq))


def revoke(tx: Transaction, kind: str, value: str, at: int) -> None:
    """Remember that a token, or a user's tokens so far, are no longer valid."""
    tx.connection.execute(
        "INSERT INTO revocations VALUES (?,?,?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)", (kind, value, at)
    )


def issue_ticket(tx: Transaction, digest: bytes, holder: bytes, now: int, expires_at: int) -> None:
    """Store a ticket, and forget those whose time is over."""
    tx.connection.execute("DELETE FROM tickets WHERE expires_at < ?", (now,))
    tx.connection.execute("INSERT INTO tickets VALUES (?,?,?)", (digest, holder, expires_at))


def redeem_ticket(tx: Transaction, digest: bytes, now: int) -> bytes | None:
    """The holder of a ticket, once: the ticket is gone with it."""
    found = tx.one("DELETE FROM tickets WHERE digest = ? RETURNING holder, expires_at", digest)
    return found[0] if found is not None and found[1] >= now else None


def heartbeat(tx: Transaction, worker: str, boot_id: str, now: int) -> None:
    """Say that a worker lives. `now` is the host's monotonic clock, so that no clock step can expire a lease.

    Forgets workers whose lease is over for a day, or was another boot's: one without a row is as gone as they are.
    """
    tx.connection.execute("DELETE FROM workers WHERE boot_id <> ? OR seen_at < ?", (boot_id, now - DAY_MS))
    tx.connection.execute(
        "INSERT INTO workers VALUES (?,?,?) ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        (worker, now, boot_id),
    )
