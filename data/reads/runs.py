"""Runs: one, those of a thread, a user or a worker, and those that need a worker."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, exists, func, select

from antiphon.data import schema
from antiphon.data.base import Heartbeat
from antiphon.data.reads.records import all_records, first_record
from antiphon.data.records import ACTIVE, DAY_MS, RunRecord


class Recoverable(NamedTuple):
    """Runs that may need a worker.

    `running` are those of other workers, `queued` those that may begin, oldest first; `heartbeats`
    has each worker's last one, by worker id.
    """

    running: list[RunRecord]
    queued: list[RunRecord]
    heartbeats: dict[str, Heartbeat]


def run(connection: Connection, run_id: str) -> RunRecord | None:
    """Return a run by id."""
    table = schema.runs
    return first_record(connection, RunRecord, select(table).where(table.c.id == run_id))


def waiting_run(connection: Connection, thread_id: str) -> RunRecord | None:
    """Return the run of a thread that waits for a human's answer."""
    table = schema.runs
    query = select(table).where(table.c.thread_id == thread_id, table.c.status == "interrupted")
    return first_record(connection, RunRecord, query)


def open_runs(connection: Connection, thread_id: str) -> list[RunRecord]:
    """Return the runs of a thread that have not ended, the newest first."""
    table = schema.runs
    query = select(table).where(table.c.thread_id == thread_id, table.c.status.in_(ACTIVE))
    return all_records(connection, RunRecord, query.order_by(table.c.first_seq.desc()))


def active_runs(connection: Connection, user_id: str) -> int:
    """Return how many runs of a user are queued or running; not those that wait for a human."""
    table = schema.runs
    active = table.c.status.in_(("queued", "running"))
    query = select(func.count()).where(table.c.user_id == user_id, active)
    return connection.scalar(query) or 0


def tokens_used(connection: Connection, user_id: str, now: int) -> int:
    """Return the tokens that a user's runs have used on the day of `now` (ms, UTC)."""
    table = schema.usage
    query = select(table.c.tokens).where(table.c.user_id == user_id, table.c.day == now // DAY_MS)
    return connection.scalar(query) or 0


def cancel_requests(connection: Connection, worker: str) -> list[RunRecord]:
    """Return the runs of a worker that someone has asked to stop."""
    table = schema.runs
    query = select(table).where(
        table.c.status == "running",
        table.c.owner == worker,
        table.c.cancel_requested_by.is_not(None),
    )
    return all_records(connection, RunRecord, query)


def recoverable(connection: Connection, worker: str) -> Recoverable:
    """Return the runs that a worker may have to take over, and what is known of their owners.

    Queued runs are among them if no other run of their thread is under way.
    """
    table = schema.runs
    of_others = select(table).where(table.c.status == "running", table.c.owner != worker)
    other = table.alias()
    under_way = other.c.status.in_(("running", "interrupted"))
    busy = exists().where(other.c.thread_id == table.c.thread_id, under_way)
    queued = select(table).where(table.c.status == "queued", ~busy).order_by(table.c.created_at)
    return Recoverable(
        running=all_records(connection, RunRecord, of_others),
        queued=all_records(connection, RunRecord, queued),
        heartbeats={
            row.id: Heartbeat(row.seen_at, row.boot_id)
            for row in connection.execute(select(schema.workers))
        },
    )
