"""Databases of earlier versions get the tables of this one, and keep their contents."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from antiphon.data import open_database, reads, schema, transactions
from antiphon.data.database import Database
from antiphon.data.errors import StorageError
from antiphon.data.migrations import MIGRATIONS
from antiphon.data.records import Message
from antiphon.data.sqlite import _prepare
from tests.data.support import acceptance, stored

HERE = Path(__file__).parent
DUMP = HERE / "version_5.sql"
READ = msgspec.json.decode((HERE / "version_5.json").read_bytes())
ADDED = {
    2: ["tickets", "revocations", "usage"],
    3: ["flows", "flow_revisions", "profiles", "thread_states"],
    4: ["positions", "graph_states"],
    5: ["store_items"],
}
"""The tables that a version has added to those of the one before."""


def earlier(path: Path, version: int = 5) -> Path:
    """A database as a version has left it."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text())
        for table in [table for added in range(version + 1, 6) for table in ADDED[added]]:
            connection.execute(f"DROP TABLE {table}")
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    return path


def shape(path: Path) -> dict[str, Any]:
    """The columns of every table and index, and the version."""
    found: dict[str, Any] = defaultdict(list)
    with closing(sqlite3.connect(path)) as connection:
        found["version"] = connection.execute("PRAGMA user_version").fetchone()
        for (table,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        ).fetchall():
            found[table] = connection.execute(f"PRAGMA table_info({table})").fetchall()
            for _, index, unique, *_ in connection.execute(
                f"PRAGMA index_list({table})"
            ).fetchall():
                columns = connection.execute(f"PRAGMA index_info({index})").fetchall()
                found[index] = [table, unique, *columns]
    return found


async def everything(database: Database) -> dict[str, Any]:
    """What the code of version 5 has read from its database, read again; see `version_5.json`."""
    found: dict[str, Any] = {}
    for thread_id in [name for name in READ if name != "rest"]:
        thread = await database.fetch(reads.thread, thread_id)
        found[thread_id] = {
            "thread": thread,
            "messages": await database.fetch(reads.messages_of, thread_id),
            "rows": await database.read(thread_id, 0, 100),
            "open_runs": await database.fetch(reads.open_runs, thread_id),
            "state": await database.fetch(reads.thread_state, thread_id),
            "branch": await database.fetch(reads.branch, thread.head_message_id),
            "waiting": await database.fetch(reads.waiting_run, thread_id),
        }
    found["rest"] = {
        "threads": await database.fetch(reads.threads_of, "ada", 9),
        "named": await database.fetch(reads.named_thread, "ada", "chat", "mine"),
        "repeated": await database.write(transactions.repeated, "ada", "key", b"digest"),
        "graph_state": await database.fetch(
            reads.graph_state, "team", READ["rest"]["graph_state"]["message_id"]
        ),
        "checkpoint": await database.fetch(reads.checkpoint, "run 2", "", None),
        "flows": await database.fetch(reads.flows_of, "ada"),
        "revision": await database.fetch(reads.flow_revision, "flow", 1),
        "profile": await database.fetch(reads.profile, "ada"),
        "position": await database.fetch(reads.position, ("ada", "chat", "c")),
        "revocations": await database.fetch(reads.revocations),
        "tokens": await database.fetch(reads.tokens_used, "ada", 1),
        "items": database.scan(reads.scan_items, (), 6, "e", list).result(timeout=30),
    }
    return found


async def test_a_database_of_the_version_before_reads_the_same(path):
    database = await open_database(f"sqlite:///{earlier(path)}")
    try:
        assert msgspec.json.decode(msgspec.json.encode(await everything(database))) == READ
    finally:
        await database.close()


async def test_a_conversation_goes_on_in_a_database_of_the_version_before(path):
    database = await open_database(f"sqlite:///{earlier(path)}")
    try:
        thread = await database.fetch(reads.named_thread, "ada", "chat", "mine")
        run = (await database.write(transactions.accept, acceptance(thread_id=thread.id, at=0))).run
        before = [message["id"] for message in READ[thread.id]["messages"]]
        assert [message.id for message in await database.fetch(reads.messages_of, thread.id)] == [
            *before,
            run.input_message_id,
        ]
    finally:
        await database.close()


@pytest.mark.parametrize("version", range(1, 6))
def test_a_database_of_any_version_becomes_what_this_one_makes(tmp_path, version):
    new, old = tmp_path / "new.db", earlier(tmp_path / "old.db", version)
    _prepare(new)
    _prepare(old)
    assert shape(old) == shape(new)
    with closing(sqlite3.connect(old)) as connection:
        messages = [message.id for message in stored(connection, Message)]
        assert len(messages) == len(set(messages)) == 12


def test_the_last_step_makes_the_schema_of_this_version():
    assert list(MIGRATIONS) == sorted(MIGRATIONS)
    assert max(MIGRATIONS) == schema.VERSION


def test_a_step_that_fails_is_undone_and_can_be_taken_later(path):
    earlier(path, 4)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE INDEX messages_by_position ON messages (role)"
        )  # the step's own name
    for _ in range(2):
        with pytest.raises(Exception, match="messages_by_position already exists"):
            _prepare(path)
        assert shape(path)["version"] == (5,), "the step before stays"
        assert "position" not in [column[1] for column in shape(path)["messages"]]
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP INDEX messages_by_position")
    _prepare(path)
    assert shape(path)["version"] == (schema.VERSION,)


@pytest.mark.parametrize("version", [0, 1, 5])
def test_servers_that_start_at_once_take_each_step_once(tmp_path, version):
    for trial in range(5):
        path = tmp_path / f"{trial}.db"
        if version:
            earlier(path, version)
        with ThreadPoolExecutor(4) as servers:
            list(servers.map(_prepare, [path] * 4))
        assert shape(path)["version"] == (schema.VERSION,)


async def test_a_refused_newer_version_says_which_and_stays_as_it_is(path):
    earlier(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 3}")
    before = shape(path)
    with pytest.raises(
        StorageError,
        match=rf"newer version \(schema {schema.VERSION + 3}, known {schema.VERSION}\)",
    ):
        await open_database(f"sqlite:///{path}")
    assert shape(path) == before
