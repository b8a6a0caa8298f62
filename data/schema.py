"""The tables, for SQLAlchemy. Every backend creates them from here."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 6
"""Grows with every change of a table, by a migration. Databases of newer versions are refused."""

Number = BigInteger().with_variant(Integer(), "sqlite")
"""Milliseconds need more than the 32 bits that others than SQLite give an INTEGER."""

metadata = MetaData()

threads = Table(
    "threads",
    metadata,
    Column("id", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("title", String),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Column("last_seq", Number, nullable=False),
    Column("head_message_id", String),
    Index("threads_by_user", "user_id", "updated_at"),
)

thread_names = Table(
    "thread_names",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("thread_id", String, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", String, primary_key=True),
    Column("thread_id", String, nullable=False),
    Column("run_id", String),
    Column("role", String, nullable=False),
    Column("content", Text, nullable=False),
    Column("parent_id", String),
    Column("author", String),
    Column("partial", Boolean, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("position", Number, nullable=False, server_default="0", comment="in the thread, from 1"),
    Index("messages_by_position", "thread_id", "position", unique=True),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String, primary_key=True),
    Column("thread_id", String, nullable=False),
    Column("user_id", String, nullable=False),
    Column("graph", String, nullable=False),
    Column("status", String, nullable=False),
    Column("input", LargeBinary, nullable=False),
    Column("input_message_id", String, nullable=False),
    Column("reply_message_id", String, nullable=False),
    Column("attempt", Number, nullable=False),
    Column("charges", Number, nullable=False),
    Column("crashes", Number, nullable=False),
    Column("lease_epoch", Number, nullable=False),
    Column("owner", String),
    Column("emitted", Number, nullable=False),
    Column("first_seq", Number, nullable=False),
    Column("last_seq", Number),
    Column("cancel_requested_by", String),
    Column("result", LargeBinary),
    Column("created_at", Number, nullable=False),
    Column("finished_at", Number),
    Index("runs_by_thread", "thread_id", "first_seq"),
    Index("runs_by_status", "status", "owner"),
)

requests = Table(
    "requests",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("digest", LargeBinary, nullable=False),
    Column("run_id", String, nullable=False),
)

events = Table(
    "events",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("seq", Number, primary_key=True, autoincrement=False),
    Column("run_id", String),
    Column("attempt", Number, nullable=False),
    Column("type", String, nullable=False),
    Column("at", Number, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("parent_id", String),
    Column("kind", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    Column("metadata", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

checkpoint_writes = Table(
    "checkpoint_writes",
    metadata,
    Column("run_id", String, primary_key=True),
    Column("namespace", String, primary_key=True),
    Column("checkpoint_id", String, primary_key=True),
    Column("task_id", String, primary_key=True),
    Column("position", Number, primary_key=True, autoincrement=False),
    Column("task_path", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

thread_states = Table(
    "thread_states",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("value", LargeBinary, nullable=False, comment="what one turn leaves for the next"),
)

graph_states = Table(
    "graph_states",
    metadata,
    Column("thread_id", String, primary_key=True),
    Column("graph", String, primary_key=True),
    Column("message_id", String, primary_key=True, comment="the reply of the run that left it"),
    Column("value", LargeBinary, nullable=False),
)

store_items = Table(
    "store_items",
    metadata,
    Column(
        "revision",
        Number,
        primary_key=True,
        comment="grows with every write: the newest is the largest",
    ),
    Column(
        "namespace", String, nullable=False, comment="labels, joined by periods, which no label has"
    ),
    Column("key", String, nullable=False),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Column("ttl", Number, comment="ms from the last use to the end; null is for ever"),
    Column("expires_at", Number),
    Column("embedder", String, comment="what made the vectors: others do not compare"),
    Column("value", LargeBinary, nullable=False),
    Column("vectors", LargeBinary),
    UniqueConstraint("namespace", "key"),
    Index("store_items_by_end", "expires_at"),
)

flows = Table(
    "flows",
    metadata,
    Column("agent_id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("draft", Number, nullable=False, comment="the revision that the owner runs"),
    Column("published", Number, comment="the revision that others run"),
    Column("created_at", Number, nullable=False),
    Column("updated_at", Number, nullable=False),
    Index("flows_by_owner", "owner", "updated_at"),
)

flow_revisions = Table(
    "flow_revisions",
    metadata,
    Column("agent_id", String, primary_key=True),
    Column("revision", Number, primary_key=True, autoincrement=False),
    Column("definition", LargeBinary, nullable=False),
    Column("at", Number, nullable=False),
    sqlite_with_rowid=False,
)

profiles = Table(
    "profiles",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Column("updated_at", Number, nullable=False),
)

positions = Table(
    "positions",
    metadata,
    Column("user_id", String, primary_key=True),
    Column("dialect", String, primary_key=True),
    Column("connection", String, primary_key=True),
    Column("run_id", String, nullable=False),
    Column(
        "seq",
        Float,
        nullable=False,
        comment="the last frame that was sent, as far as that was stored",
    ),
    sqlite_with_rowid=False,
)

revocations = Table(
    "revocations",
    metadata,
    Column("kind", String, primary_key=True, comment="jti or user"),
    Column("value", String, primary_key=True),
    Column("at", Number, nullable=False, comment="a user's tokens issued before are not valid, ms"),
)

tickets = Table(
    "tickets",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("holder", LargeBinary, nullable=False),
    Column("expires_at", Number, nullable=False),
)

usage = Table(
    "usage",
    metadata,
    Column("user_id", String, primary_key=True),
    Column(
        "day", Number, primary_key=True, autoincrement=False, comment="days since the epoch, UTC"
    ),
    Column("tokens", Number, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", String, primary_key=True),
    Column("seen_at", Number, nullable=False, comment="CLOCK_MONOTONIC of this host's boot, ms"),
    Column("boot_id", String, nullable=False),
)
