"""Runs: accepted with a message, claimed by one worker at a time, paused by a question, ended."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.data.errors import Busy, IdempotencyConflict
from antiphon.data.records import (
    DAY_MS,
    Acceptance,
    Accepted,
    Fence,
    GraphState,
    Message,
    NewEvent,
    RunRecord,
    RunStatus,
    Thread,
)
from antiphon.data.transactions.log import Writes, append, append_once, number
from antiphon.data.transactions.messages import (
    insert_message,
    place_for_reply,
    put_after_question,
    store_reply,
)
from antiphon.data.transactions.threads import ACTIVE, store_graph_state, store_state, thread_for
from antiphon.data.transactions.transaction import Transaction, insertion

TAKEN = "('running', 'interrupted')"

Active = Sequence[tuple[str, str]]
"""`(run id, input message id)` of the runs of a thread that have not ended, the oldest first."""


def accept(tx: Transaction, acceptance: Acceptance) -> Accepted:
    """Store a message, its run and their first events.

    The acceptance's worker, if there is one, claims the run if the thread is idle. Raises
    `NotFound`, `Busy`, `IdempotencyConflict`.
    """
    if acceptance.idempotency:
        earlier = repeated(tx, acceptance.user_id, *acceptance.idempotency)
        if earlier is not None:
            return Accepted(run=earlier, created=False)
    if tx.one("SELECT 1 FROM messages WHERE id = :id", id=acceptance.message_id):
        raise IdempotencyConflict(acceptance.message_id)
    thread = thread_for(tx, acceptance)
    active = _active_runs(tx, thread.id)
    if active and acceptance.on_busy == "reject":
        raise Busy(thread.id)
    message = Message(
        id=acceptance.message_id,
        thread_id=thread.id,
        run_id=acceptance.run_id,
        role="user",
        content=acceptance.content,
        parent_id=_parent_for(tx, thread, acceptance, active),
        author=acceptance.user_id,
        partial=False,
        created_at=acceptance.at,
    )
    insert_message(tx, message)
    insert_message(tx, place_for_reply(message, acceptance.reply_message_id))
    events = acceptance.events(thread, message)
    claimed = not active and acceptance.worker is not None
    tx.insert("runs", _new_run(acceptance, thread, claimed=claimed, emitted=len(events)))
    if acceptance.idempotency:
        _store_request(tx, acceptance.user_id, *acceptance.idempotency, acceptance.run_id)
    interrupted: tuple[str, ...] = ()
    if acceptance.on_busy in ("interrupt", "rollback"):
        interrupted = tuple(run_id for run_id, _ in active)
    for run_id in interrupted:
        _ask_to_stop(tx, run_id, acceptance.user_id)
    number(tx, thread.id, acceptance.run_id, 1, events)
    return Accepted(run=tx.existing_run(acceptance.run_id), created=True, interrupted=interrupted)


def repeated(tx: Transaction, user_id: str, key: str, digest: bytes) -> RunRecord | None:
    """Return the run of an earlier request with this key.

    Raises `IdempotencyConflict` if that was another request.
    """
    request = tx.one(
        "SELECT digest, run_id FROM requests WHERE user_id = :user_id AND key = :key",
        user_id=user_id,
        key=key,
    )
    if request is None:
        return None
    stored_digest, run_id = request
    if stored_digest != digest:
        raise IdempotencyConflict(key)
    return tx.existing_run(run_id)


def _store_request(tx: Transaction, user_id: str, key: str, digest: bytes, run_id: str) -> None:
    statement = insertion("requests", ("user_id", "key", "digest", "run_id"))
    tx.execute(statement, user_id=user_id, key=key, digest=digest, run_id=run_id)


def _active_runs(tx: Transaction, thread_id: str) -> Active:
    return tx.execute(
        "SELECT id, input_message_id FROM runs"  # noqa: S608 - statuses of ours
        f" WHERE thread_id = :thread_id AND status IN {ACTIVE} ORDER BY first_seq",
        thread_id=thread_id,
    ).fetchall()


def _parent_for(
    tx: Transaction, thread: Thread, acceptance: Acceptance, active: Active
) -> str | None:
    """Return the message that this one follows: the thread's head.

    For a rollback it is the one that the message of the first active run follows.
    """
    if active and acceptance.on_busy == "rollback":
        _, message_id = active[0]
        row = tx.one("SELECT parent_id FROM messages WHERE id = :id", id=message_id)
        return row[0] if row else None
    return thread.head_message_id


def _new_run(acceptance: Acceptance, thread: Thread, *, claimed: bool, emitted: int) -> RunRecord:
    return RunRecord(
        id=acceptance.run_id,
        thread_id=thread.id,
        user_id=acceptance.user_id,
        graph=acceptance.graph,
        status="running" if claimed else "queued",
        input=acceptance.input,
        input_message_id=acceptance.message_id,
        reply_message_id=acceptance.reply_message_id,
        attempt=int(claimed),
        charges=int(claimed),
        crashes=0,
        lease_epoch=int(claimed),
        owner=acceptance.worker if claimed else None,
        emitted=emitted,
        first_seq=thread.last_seq + 1,
        last_seq=None,
        cancel_requested_by=None,
        result=None,
        created_at=acceptance.at,
        finished_at=None,
    )


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
    """Store a run's last events, reply, status and tokens. Return the thread's next queued run.

    `state` is what the thread's next run begins from: empty for nothing, None to keep the present
    one. `graph_state` is the same for the graph's next run in the thread. Of the graph's earlier
    states in the thread, only the one that it follows is kept, for a message that replaces the
    last turn.
    """
    stored = append_once(tx, fence, expected, events)
    thread_id = tx.existing_run(fence.run_id).thread_id
    if stored is not None:
        if message is not None:
            store_reply(tx, message)
        _end(tx, fence.run_id, status, result, events[-1].at)
        _spend(tx, fence.run_id, events[-1].at // DAY_MS, tokens)
        if state is not None:
            store_state(tx, thread_id, state)
        if graph_state is not None:
            store_graph_state(tx, thread_id, graph_state)
    return _next_queued(tx, thread_id)


def _spend(tx: Transaction, run_id: str, day: int, tokens: int) -> None:
    tx.execute(
        "INSERT INTO usage (user_id, day, tokens)"
        " SELECT user_id, :day, :tokens FROM runs WHERE id = :run_id"
        " ON CONFLICT (user_id, day) DO UPDATE SET tokens = usage.tokens + excluded.tokens",
        day=day,
        tokens=tokens,
        run_id=run_id,
    )


def _end(tx: Transaction, run_id: str, status: RunStatus, result: bytes, at: int) -> None:
    """Give a run its last status, and delete its checkpoints."""
    tx.execute(
        "UPDATE runs SET status = :status, result = :result, finished_at = :at, owner = NULL,"
        " last_seq = (SELECT threads.last_seq FROM threads WHERE threads.id = runs.thread_id)"
        " WHERE id = :run_id",
        status=status,
        result=result,
        at=at,
        run_id=run_id,
    )
    tx.execute("DELETE FROM checkpoints WHERE run_id = :run_id", run_id=run_id)
    tx.execute("DELETE FROM checkpoint_writes WHERE run_id = :run_id", run_id=run_id)


def _next_queued(tx: Transaction, thread_id: str) -> str | None:
    row = tx.one(
        "SELECT id FROM runs WHERE thread_id = :thread_id AND status = 'queued'"
        " ORDER BY first_seq LIMIT 1",
        thread_id=thread_id,
    )
    return row[0] if row else None


def claim(
    tx: Transaction, run_id: str, worker: str, held_by: str | None = None
) -> RunRecord | None:
    """Become the writer of a queued run, or take a running one over from worker `held_by`.

    Returns None if another worker was first, or if an older run of the thread has not ended.
    """
    run = tx.existing_run(run_id)
    if held_by is None:
        first = _next_queued(tx, run.thread_id) == run_id
        taken = tx.one(
            f"SELECT 1 FROM runs WHERE thread_id = :thread_id AND status IN {TAKEN}",  # noqa: S608
            thread_id=run.thread_id,
        )
        allowed = first and not taken
    else:
        allowed = run.status == "running" and run.owner == held_by
    return _take(tx, run_id, worker, charge=1, crash=int(held_by is not None)) if allowed else None


def _take(tx: Transaction, run_id: str, worker: str, charge: int, crash: int = 0) -> RunRecord:
    tx.execute(
        "UPDATE runs SET status = 'running', owner = :worker, lease_epoch = lease_epoch + 1,"
        " attempt = attempt + :charge, charges = charges + :charge, crashes = crashes + :crash"
        " WHERE id = :run_id",
        worker=worker,
        charge=charge,
        crash=crash,
        run_id=run_id,
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
    """Store events that end with a question to a human, and release the run until the answer.

    `message` is the question as the run's reply so far; `writes` are what the tasks that ask wrote.
    """
    if append_once(tx, fence, expected, events, writes, completed=bool(writes)) is None:
        return
    if message is not None:
        store_reply(tx, message)
    tx.execute(  # a run that was asked to stop is queued, for an execution that ends it
        "UPDATE runs SET owner = NULL, status = CASE WHEN cancel_requested_by IS NULL"
        " THEN 'interrupted' ELSE 'queued' END WHERE id = :run_id",
        run_id=fence.run_id,
    )


def answer(  # noqa: PLR0913, PLR0917 - all that one commit stores
    tx: Transaction,
    run_id: str,
    worker: str | None,
    events: Sequence[NewEvent],
    message: Message,
    reply_id: str,
    idempotency: tuple[str, str, bytes] | None = None,
) -> RunRecord | None:
    """Continue a paused run as its writer, not as a new attempt; without a worker, queue it.

    `message` is the answer; the run's further text will be the message `reply_id` after it.
    `idempotency` is `(user, key, digest)` of the request, which is stored, too. Returns None if the
    run does not wait for this answer.
    """
    paused = tx.existing_run(run_id)
    if paused.status != "interrupted" or (idempotency and repeated(tx, *idempotency)):
        return None
    if message.parent_id != paused.reply_message_id:  # an answer to an earlier question
        return None
    if idempotency:
        _store_request(tx, *idempotency, run_id)
    put_after_question(tx, paused, message, reply_id)
    run = _take(tx, run_id, worker or "", charge=0)
    append(tx, Fence(run_id=run_id, epoch=run.lease_epoch), run.emitted, events)
    if worker is None:
        _queue_answered(tx, run_id)
    return tx.existing_run(run_id)


def _queue_answered(tx: Transaction, run_id: str) -> None:
    """Release a run that was answered. The claim that follows counts its attempt again."""
    tx.execute(
        "UPDATE runs SET status = 'queued', owner = NULL,"
        " attempt = attempt - 1, charges = charges - 1 WHERE id = :run_id",
        run_id=run_id,
    )


def cancel(
    tx: Transaction, run_id: str, by: str, events: Sequence[NewEvent], result: bytes
) -> RunRecord:
    """Ask a running run to stop; end one that never began at once, by `events`. Idempotent.

    A run that began and was released is queued: the worker that claims it ends it, with the text
    that it has already sent.
    """
    run = tx.existing_run(run_id)
    if run.status == "running" or (not run.ended and run.attempt > 0):
        _ask_to_stop(tx, run_id, by)
    elif not run.ended:
        number(tx, run.thread_id, run_id, max(run.attempt, 1), events)
        tx.execute(
            "UPDATE runs SET emitted = emitted + :count WHERE id = :run_id",
            count=len(events),
            run_id=run_id,
        )
        _end(tx, run_id, "cancelled", result, events[-1].at)
    return tx.existing_run(run_id)


def _ask_to_stop(tx: Transaction, run_id: str, by: str) -> None:
    """Store the request for the run's worker. A paused run is queued, so that a worker gets it."""
    tx.execute(
        "UPDATE runs SET cancel_requested_by = COALESCE(cancel_requested_by, :by),"
        " status = CASE status WHEN 'interrupted' THEN 'queued' ELSE status END WHERE id = :run_id",
        by=by,
        run_id=run_id,
    )


def hand_back(tx: Transaction, fence: Fence, charged: bool) -> None:
    """Release a run for any worker: uncharged at a shutdown, charged after a failure."""
    refund = 0 if charged else 1
    tx.execute(
        "UPDATE runs SET status = 'queued', owner = NULL,"
        " charges = CASE WHEN charges > :refund THEN charges - :refund ELSE 0 END"
        " WHERE id = :run_id AND lease_epoch = :epoch AND status = 'running'",
        refund=refund,
        run_id=fence.run_id,
        epoch=fence.epoch,
    )
