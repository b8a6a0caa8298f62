"""A database in memory, for notebooks and tests: one process, and nothing is left after `close`.

It is SQLite with the same tables and statements. Its connections share one database in memory by
SQLite's VFS "memdb". That has no write-ahead log, so by itself a scan would block every commit, and
readers would poll for the end of a commit. Therefore all of them take turns at a lock: the writer
for a transaction, a reader for one statement, whose rows it copies.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import URL, StaticPool, create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from antiphon.data import schema
from antiphon.data.base import SCANNERS, Heartbeat
from antiphon.data.errors import StorageError
from antiphon.data.ids import new_id
from antiphon.data.sqlite import SqliteConnection
from antiphon.data.transactions import Transaction


class MemoryBackend:
    """`antiphon.data.base.Backend` in this process's memory."""

    def __init__(self) -> None:
        self.worker_id = new_id()
        self._name = f"file:/{self.worker_id}"
        self._turn = threading.Lock()
        reading = {"factory": partial(ReadingConnection, turn=self._turn)}
        # The database exists as long as this engine's one connection.
        self._owner = create_engine(self._url("sqlite"), poolclass=StaticPool)
        schema.metadata.create_all(self._owner)
        self.reader = create_async_engine(self._url("sqlite+aiosqlite"), connect_args=reading)
        self.scanner = create_engine(self._url("sqlite"), pool_size=SCANNERS, connect_args=reading)

    @classmethod
    async def open(cls, url: str) -> MemoryBackend:
        """Create the database of `memory://`, a new one each time. Raises `StorageError`."""
        if url != "memory://":
            raise StorageError(f"cannot open {url}: a database in memory has no name")
        return cls()

    def _url(self, driver: str) -> URL:
        return URL.create(driver, database=self._name, query={"vfs": "memdb", "uri": "true"})

    def connect(self) -> MemoryConnection:
        """Open the connection that writes."""
        return MemoryConnection(
            f"{self._name}?vfs=memdb",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            turn=self._turn,
        )

    def beat(self, tx: Transaction) -> None:
        """Record nothing, as no other process could read it."""

    def is_gone(self, worker_id: str, heartbeat: Heartbeat | None, lease_seconds: float) -> bool:
        """Return whether that is another worker: there is only this one."""
        return worker_id != self.worker_id

    def unblock(self, worker_id: str) -> None:
        """Do nothing, as no other process can block this one."""

    def facts(self) -> dict[str, str]:
        """Return SQLite's version and settings."""
        return {
            "engine": "memory",
            "version": sqlite3.sqlite_version,
            "journal_mode": "memory",
            "synchronous": "off",
        }

    async def close(self) -> None:
        """Forget the database."""
        self.scanner.dispose()
        await self.reader.dispose()
        self._owner.dispose()


class MemoryConnection(SqliteConnection):
    """`antiphon.data.base.WritingConnection`, which keeps its turn while a transaction is open."""

    def __init__(self, *args: Any, turn: threading.Lock, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = turn
        self._has_turn = False

    def begin(self) -> None:
        """Wait for the turn, then begin."""
        self._turn.acquire()
        self._has_turn = True
        super().begin()

    def execute(self, sql: str, values: Any = (), /) -> sqlite3.Cursor:
        """Run a statement, which may end the transaction."""
        cursor = super().execute(sql, values)
        if self._has_turn and not self.in_transaction:
            self._end_turn()
        return cursor

    def close(self) -> None:
        """Close the connection, and undo its open transaction."""
        super().close()
        if self._has_turn:
            self._end_turn()

    def _end_turn(self) -> None:
        self._has_turn = False
        self._turn.release()


class ReadingConnection(sqlite3.Connection):
    """A connection for reading only, whose cursors wait for their turns."""

    def __init__(self, *args: Any, turn: threading.Lock, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._turn = turn
        self.execute("PRAGMA query_only = ON")

    def cursor(self, factory: Any = None) -> Any:
        """Return a cursor. Drivers ask for no other kind of it."""
        return super().cursor(partial(CopyingCursor, turn=self._turn))


class CopyingCursor(sqlite3.Cursor):
    """Takes all rows of a statement at once, however slowly they are fetched then."""

    def __init__(self, connection: sqlite3.Connection, turn: threading.Lock) -> None:
        super().__init__(connection)
        self._turn = turn
        self._rows: Iterator[Any] = iter(())

    def execute(self, sql: str, values: Any = (), /) -> CopyingCursor:
        """Run a statement and copy its rows."""
        with self._turn:
            super().execute(sql, values)
            self._rows = iter(super().fetchall())
        return self

    def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        """Return the next rows, at most `size`."""
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Any]:
        """Return all remaining rows."""
        return list(self._rows)
