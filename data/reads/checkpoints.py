"""Checkpoints of a run, with what tasks have written after them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, select

from antiphon.data import schema
from antiphon.data.reads.records import to_record
from antiphon.data.records import Checkpoint, CheckpointWrite, StoredCheckpoint


def checkpoint(
    connection: Connection, run_id: str, namespace: str, checkpoint_id: str | None
) -> StoredCheckpoint | None:
    """Return the named checkpoint, the newest one for None; None if there is no such one."""
    table = schema.checkpoints
    query = select(table).where(table.c.run_id == run_id, table.c.namespace == namespace)
    if checkpoint_id is not None:
        query = query.where(table.c.id == checkpoint_id)
    row = connection.execute(query.order_by(table.c.id.desc()).limit(1)).first()
    return None if row is None else _with_writes(connection, row)


def checkpoints_of(
    connection: Connection,
    run_id: str,
    namespace: str | None,
    before: str | None,
    limit: int | None,
) -> list[StoredCheckpoint]:
    """Return checkpoints of a run, newest first: of any namespace for None, older than `before`."""
    table = schema.checkpoints
    query = select(table).where(table.c.run_id == run_id)
    if namespace is not None:
        query = query.where(table.c.namespace == namespace)
    if before is not None:
        query = query.where(table.c.id < before)
    rows = connection.execute(query.order_by(table.c.id.desc()).limit(limit)).all()
    return [_with_writes(connection, row) for row in rows]


def checkpoint_writes(
    connection: Connection, run_id: str, namespace: str, checkpoint_id: str
) -> tuple[CheckpointWrite, ...]:
    """Return what tasks of a run have written after a checkpoint, which may be another run's."""
    table = schema.checkpoint_writes
    query = select(table).where(
        table.c.run_id == run_id,
        table.c.namespace == namespace,
        table.c.checkpoint_id == checkpoint_id,
    )
    in_order = query.order_by(table.c.task_path, table.c.task_id, table.c.position)
    return tuple(
        CheckpointWrite(
            task_id=row.task_id,
            task_path=row.task_path,
            position=row.position,
            channel=row.channel,
            kind=row.kind,
            value=row.value,
            replace=row.position < 0,
        )
        for row in connection.execute(in_order)
    )


def checkpoint_namespaces(connection: Connection, run_id: str) -> list[str]:
    """Return the namespaces in which a run has checkpoints, in any order."""
    table = schema.checkpoints
    query = select(table.c.namespace).where(table.c.run_id == run_id).distinct()
    return list(connection.scalars(query))


def _with_writes(connection: Connection, row: Row[Any]) -> StoredCheckpoint:
    writes = checkpoint_writes(connection, row.run_id, row.namespace, row.id)
    return StoredCheckpoint(checkpoint=to_record(Checkpoint, row), writes=writes)
