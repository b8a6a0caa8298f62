"""Events: numbered per thread without gaps, written under a fence, together with checkpoints."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from antiphon.data.errors import Fenced, NotFound
from antiphon.data.records import Checkpoint, CheckpointWrite, Fence, NewEvent, Row
from antiphon.data.transactions.transaction import Transaction, insertion

Writes = Sequence[tuple[str, str, CheckpointWrite]]
"""`(namespace, checkpoint id, write)` of what tasks wrote."""

INSERT_EVENT = insertion("events", Row.__struct_fields__)


def append(
    tx: Transaction,
    fence: Fence,
    expected: int,
    events: Sequence[NewEvent],
    writes: Writes = (),
    completed: bool = False,
) -> int:
    """Number and store events of a run, and what its finished tasks wrote with them.

    `expected` is the run's event count as the writer knows it, so that an append whose result was
    lost can be repeated safely. `completed` reports that a node has completed: of the executions
    so far, only the present one stays charged. Returns the number of the last event stored, 0 if
    there was none. Raises `Fenced`.
    """
    return append_once(tx, fence, expected, events, writes, completed) or 0


def append_once(
    tx: Transaction,
    fence: Fence,
    expected: int,
    events: Sequence[NewEvent],
    writes: Writes = (),
    completed: bool = False,
) -> int | None:
    """Like `append`, but None if exactly this append was stored before and its result was lost.

    Then the rest of the transaction must not be repeated either.
    """
    run = tx.one(
        "UPDATE runs SET emitted = emitted + :count,"
        " charges = CASE WHEN :completed THEN 1 ELSE charges END"
        " WHERE id = :run_id AND lease_epoch = :epoch AND emitted = :expected"
        " AND status = 'running'"
        " RETURNING thread_id, attempt",
        count=len(events),
        completed=completed,
        run_id=fence.run_id,
        epoch=fence.epoch,
        expected=expected,
    )
    if run is None:
        _refuse_unless_repeated(tx, fence, expected, events)
        return None
    thread_id, attempt = run
    number(tx, thread_id, fence.run_id, attempt, events)
    for namespace, checkpoint_id, write in writes:
        put_write(tx, fence.run_id, namespace, checkpoint_id, write)
    return tx.rows[-1].seq if tx.rows else 0


def append_to_thread(tx: Transaction, thread_id: str, events: Sequence[NewEvent]) -> int:
    """Number and store events that belong to no run. Return the number of the last one, 0 for none.

    There is no fence, as a thread has no single writer: only the order of its numbers is promised.
    Raises `NotFound`.
    """
    number(tx, thread_id, None, 0, events)
    return tx.rows[-1].seq if tx.rows else 0


def put_checkpoint(
    tx: Transaction, fence: Fence, expected: int, events: Sequence[NewEvent], checkpoint: Checkpoint
) -> int:
    """Store a checkpoint and the events before it. Return and raise what `append` does."""
    last_seq = append(tx, fence, expected, events)
    tx.execute(
        "INSERT INTO checkpoints (run_id, namespace, id, parent_id, kind, value, metadata)"
        " VALUES (:run_id, :namespace, :id, :parent_id, :kind, :value, :metadata)"
        " ON CONFLICT (run_id, namespace, id) DO UPDATE SET parent_id = excluded.parent_id,"
        " kind = excluded.kind, value = excluded.value, metadata = excluded.metadata",
        run_id=fence.run_id,
        **msgspec.structs.asdict(checkpoint),
    )
    return last_seq


def number(
    tx: Transaction, thread_id: str, run_id: str | None, attempt: int, events: Sequence[NewEvent]
) -> None:
    """Store events under the next numbers of the thread.

    The numbers have no gaps as the update locks the thread's row. Raises `NotFound`.
    """
    if not events:
        return
    thread = tx.one(
        "UPDATE threads SET last_seq = last_seq + :count WHERE id = :thread_id RETURNING last_seq",
        count=len(events),
        thread_id=thread_id,
    )
    if thread is None:
        raise NotFound(thread_id)
    (last_seq,) = thread
    rows = [
        Row(
            thread_id=thread_id,
            seq=seq,
            run_id=run_id,
            attempt=attempt,
            type=event.type,
            at=event.at,
            payload=event.payload,
        )
        for seq, event in enumerate(events, last_seq - len(events) + 1)
    ]
    tx.execute_many(INSERT_EVENT, [msgspec.structs.asdict(row) for row in rows])
    tx.rows.extend(rows)


def _refuse_unless_repeated(
    tx: Transaction, fence: Fence, expected: int, events: Sequence[NewEvent]
) -> None:
    """Raise `Fenced` unless these are the run's last events, stored under the same fence."""
    run = tx.run(fence.run_id)
    if (
        not events
        or run is None
        or run.lease_epoch != fence.epoch
        or run.emitted != expected + len(events)
    ):
        raise Fenced(fence.run_id)
    stored = tx.execute(
        "SELECT type, payload, at FROM events WHERE thread_id = :thread_id AND seq >= :first_seq"
        " AND run_id = :run_id ORDER BY seq DESC LIMIT :count",
        thread_id=run.thread_id,
        first_seq=run.first_seq,
        run_id=run.id,
        count=len(events),
    ).fetchall()
    if stored[::-1] != [(event.type, event.payload, event.at) for event in events]:
        raise Fenced(fence.run_id)


_REPLACE = (
    "DO UPDATE SET task_path = excluded.task_path, channel = excluded.channel,"
    " kind = excluded.kind, value = excluded.value"
)


def put_write(
    tx: Transaction, run_id: str, namespace: str, checkpoint_id: str, write: CheckpointWrite
) -> None:
    """Store what a task wrote. Special channels replace an earlier value; others keep it."""
    values = msgspec.structs.asdict(write)
    replaces = values.pop("replace")
    taken = _REPLACE if replaces else "DO NOTHING"
    tx.execute(
        "INSERT INTO checkpoint_writes"  # noqa: S608 - `taken` is ours
        " (run_id, namespace, checkpoint_id, task_id, position, task_path, channel, kind, value)"
        " VALUES (:run_id, :namespace, :checkpoint_id, :task_id, :position, :task_path, :channel,"
        " :kind, :value) ON CONFLICT (run_id, namespace, checkpoint_id, task_id, position)"
        f" {taken}",
        run_id=run_id,
        namespace=namespace,
        checkpoint_id=checkpoint_id,
        **values,
    )
