"""The default backend: one SQLite file, one writing thread, and readers on their own connections.

It uses WAL with `synchronous=FULL`: a commit survives a crash of the process and of the machine.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, create_engine, event, text
from sqlalchemy import Engine as SqlEngine
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from antiphon.data import schema, transactions
from antiphon.data.base import SCANNERS, Heartbeat
from antiphon.data.errors import StorageError
from antiphon.data.migrations import migrate
from antiphon.data.transactions import Transaction
from antiphon.data.workers import WorkerLock, boot_id, exclusive

BUSY_MS = 10_000
"""How long a statement waits for another process's transaction."""


class SqliteBackend:
    """`antiphon.data.base.Backend` on one SQLite file."""

    def __init__(self, path: Path, lock: WorkerLock) -> None:
        self._path = path
        self._lock = lock
        self._boot_id = boot_id()
        self.worker_id = lock.id
        self.reader = _reading_engine(path)
        self.scanner = _scanned_engine(path)

    @classmethod
    async def open(cls, url: str) -> SqliteBackend:
        """Open or create the file of `sqlite:///path`. Raises `StorageError` or `ValueError`."""
        path = _path_of(url)
        try:
            return cls(path, await asyncio.to_thread(_set_up, path))
        except (OSError, SQLAlchemyError, sqlite3.Error) as error:
            reason = getattr(error, "orig", None) or error  # SQLAlchemy adds its statement to it
            raise StorageError(f"cannot open {path}: {reason}") from error

    def connect(self) -> SqliteConnection:
        """Open the connection that writes."""
        return _writing_connection(self._path)

    def beat(self, tx: Transaction) -> None:
        """Record that this process is alive."""
        transactions.heartbeat(tx, self.worker_id, self._boot_id, _monotonic_ms())

    def is_gone(self, worker_id: str, heartbeat: Heartbeat | None, lease_seconds: float) -> bool:
        """Return whether a worker has ended, or was silent for a lease."""
        if self._lock.is_dead(worker_id):
            return True
        if heartbeat is None or heartbeat.boot_id != self._boot_id:
            return True
        return _monotonic_ms() - heartbeat.seen_at > lease_seconds * 1000

    def unblock(self, worker_id: str) -> None:
        """Kill a worker if it is suspended: inside a transaction it blocks all others."""
        self._lock.end(worker_id)

    def facts(self) -> dict[str, str]:
        """Return SQLite's version and settings."""
        return {
            "engine": "sqlite",
            "version": sqlite3.sqlite_version,
            "journal_mode": "wal",
            "synchronous": "full",
        }

    async def close(self) -> None:
        """Close the reading connections, and leave the workers of the file."""
        self.scanner.dispose()
        await self.reader.dispose()
        self._lock.release()


class SqliteConnection(sqlite3.Connection):
    """`antiphon.data.base.WritingConnection`; SQLite's own `:name` is ours."""

    def begin(self) -> None:
        """Begin with the lock of the file, so that no later statement waits for it."""
        self.execute("BEGIN IMMEDIATE")

    def foreign_commits(self) -> int:
        """Return SQLite's own number."""
        version: int = self.execute("PRAGMA data_version").fetchone()[0]
        return version

    def spoils_group(self, error: Exception) -> bool:
        """Return whether the disk is at fault. Errors that Python's driver makes are not."""
        code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        return isinstance(error, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR


def _monotonic_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1_000_000


def _writing_connection(path: Path) -> SqliteConnection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, factory=SqliteConnection
    )
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    return connection


def _reading_engine(path: Path) -> AsyncEngine:
    engine = create_async_engine(
        URL.create("sqlite+aiosqlite", database=str(path)), pool_size=4, max_overflow=12
    )
    _only_reads(engine.sync_engine)
    return engine


def _scanned_engine(path: Path) -> SqlEngine:
    engine = create_engine(URL.create("sqlite", database=str(path)), pool_size=SCANNERS)
    _only_reads(engine)
    return engine


def _only_reads(engine: SqlEngine) -> None:
    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        for pragma in (f"busy_timeout = {BUSY_MS}", "query_only = ON", "wal_autocheckpoint = 0"):
            connection.execute(f"PRAGMA {pragma}")


def _path_of(url: str) -> Path:
    path = url.removeprefix("sqlite:///")
    if path in ("", url):
        raise ValueError("the database's URL names no file: it looks like sqlite:///chat.db")
    return Path(path).expanduser().absolute()


def _set_up(path: Path) -> WorkerLock:
    """Create what is missing, one process at a time, and join the workers of the file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    locks = Path(f"{path}-workers")
    with exclusive(locks / "setup.lock"):
        _prepare(path)
        lock = WorkerLock(locks)
        lock.remove_others()
    return lock


def _prepare(path: Path) -> None:
    """Bring the file to the schema of this version, or refuse a newer one."""
    engine = create_engine(URL.create("sqlite", database=str(path)))
    event.listen(engine, "connect", _leave_transactions_alone)
    try:
        with engine.connect() as connection:
            _use_wal(connection)
            if _version(connection) == schema.VERSION:
                return  # without waiting for the lock of the file, which a worker may hold
        event.listen(engine, "begin", _begin_immediate)
        migrate(engine, _version, _set_version)
    finally:
        engine.dispose()


@retry(
    retry=retry_if_exception(
        lambda error: isinstance(error, OperationalError) and "locked" in str(error)
    ),
    wait=wait_fixed(0.02),
    stop=stop_after_delay(BUSY_MS / 1000),
    reraise=True,
)
def _use_wal(connection: Connection) -> None:
    """Switch to WAL. SQLite refuses that without waiting while another server does it."""
    connection.execute(text("PRAGMA journal_mode = WAL"))


def _leave_transactions_alone(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's driver would not begin one for CREATE TABLE


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _version(connection: Connection) -> int:
    version: int = connection.execute(text("PRAGMA user_version")).scalar_one()
    return version


def _set_version(connection: Connection, version: int) -> None:
    connection.execute(text(f"PRAGMA user_version = {version}"))
