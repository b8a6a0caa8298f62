"""Schema 5, from 1 to 4: each of them had only added tables, in SQLite, and so does this."""

from __future__ import annotations

from sqlalchemy import Connection

STATEMENTS = (
    """
    CREATE TABLE IF NOT EXISTS tickets (
        digest BLOB NOT NULL,
        holder BLOB NOT NULL,
        expires_at INTEGER NOT NULL,
        PRIMARY KEY (digest)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS revocations (
        kind VARCHAR NOT NULL,
        value VARCHAR NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (kind, value)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS usage (
        user_id VARCHAR NOT NULL,
        day INTEGER NOT NULL,
        tokens INTEGER NOT NULL,
        PRIMARY KEY (user_id, day)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS flows (
        agent_id VARCHAR NOT NULL,
        owner VARCHAR NOT NULL,
        draft INTEGER NOT NULL,
        published INTEGER,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        PRIMARY KEY (agent_id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS flow_revisions (
        agent_id VARCHAR NOT NULL,
        revision INTEGER NOT NULL,
        definition BLOB NOT NULL,
        at INTEGER NOT NULL,
        PRIMARY KEY (agent_id, revision)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS profiles (
        user_id VARCHAR NOT NULL,
        value BLOB NOT NULL,
        updated_at INTEGER NOT NULL,
        PRIMARY KEY (user_id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS thread_states (
        thread_id VARCHAR NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (thread_id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS positions (
        user_id VARCHAR NOT NULL,
        dialect VARCHAR NOT NULL,
        connection VARCHAR NOT NULL,
        run_id VARCHAR NOT NULL,
        seq FLOAT NOT NULL,
        PRIMARY KEY (user_id, dialect, connection)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE IF NOT EXISTS graph_states (
        thread_id VARCHAR NOT NULL,
        graph VARCHAR NOT NULL,
        message_id VARCHAR NOT NULL,
        value BLOB NOT NULL,
        PRIMARY KEY (thread_id, graph, message_id)
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS store_items (
        revision INTEGER NOT NULL,
        namespace VARCHAR NOT NULL,
        "key" VARCHAR NOT NULL,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        ttl INTEGER,
        expires_at INTEGER,
        embedder VARCHAR,
        value BLOB NOT NULL,
        vectors BLOB,
        PRIMARY KEY (revision),
        UNIQUE (namespace, "key")
    )
    """,
    "CREATE INDEX IF NOT EXISTS store_items_by_end ON store_items (expires_at)",
    "CREATE INDEX IF NOT EXISTS flows_by_owner ON flows (owner, updated_at)",
)


def upgrade(connection: Connection) -> None:
    """Create the tables that the database does not have yet."""
    for statement in STATEMENTS:
        connection.exec_driver_sql(statement)
