"""Schema 6: the order of a conversation's messages is a column, no longer that of SQLite's rows."""

from __future__ import annotations

from sqlalchemy import Connection

STATEMENTS = (
    "ALTER TABLE messages ADD COLUMN position INTEGER DEFAULT '0' NOT NULL",
    """
    UPDATE messages SET position = numbered.position
    FROM (
        SELECT id, ROW_NUMBER() OVER (PARTITION BY thread_id ORDER BY rowid) AS position
        FROM messages
    ) AS numbered
    WHERE numbered.id = messages.id
    """,
    "CREATE UNIQUE INDEX messages_by_position ON messages (thread_id, position)",
    "DROP INDEX messages_by_thread",
)


def upgrade(connection: Connection) -> None:
    """Number the messages of each thread from 1."""
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)
