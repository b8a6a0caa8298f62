"""Revoked tokens, and what clients' connections have been shown."""

from __future__ import annotations

from sqlalchemy import Connection, select

from antiphon.data import schema


def position(connection: Connection, key: tuple[str, str, str]) -> tuple[str, float] | None:
    """Return the run and the number of the last frame that a connection was shown, or None.

    `key` is `(user, dialect, connection)`.
    """
    table = schema.positions
    user_id, dialect, name = key
    query = select(table.c.run_id, table.c.seq).where(
        table.c.user_id == user_id, table.c.dialect == dialect, table.c.connection == name
    )
    row = connection.execute(query).first()
    return None if row is None else (row.run_id, row.seq)


def revocations(connection: Connection) -> list[tuple[str, str, int]]:
    """Return all revocations as `(kind, value, at)`."""
    rows = connection.execute(select(schema.revocations))
    return [(row.kind, row.value, row.at) for row in rows]
