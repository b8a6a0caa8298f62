"""What a backend offers: the little that SQLite or PostgreSQL do each in its own way.

All else is written once: reads in `reads/`, writes in `transactions/` as portable SQL, and
`database.py` around both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from antiphon.data.transactions import Transaction

SCANNERS = 4
"""How many scans run at once: that many connections `scanner` needs. Further ones wait."""


class StatementResult(Protocol):
    """The rows of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement has changed."""

    def fetchone(self) -> Any:
        """Return the next row as a tuple, or None."""

    def fetchall(self) -> list[Any]:
        """Return all remaining rows."""


class WritingConnection(Protocol):
    """The one connection of a process that writes.

    `COMMIT`, `ROLLBACK` and savepoints are statements like others.
    """

    def execute(self, sql: str, values: Mapping[str, Any] = ..., /) -> StatementResult:
        """Run a statement, whose `:names` stand for values."""

    def executemany(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> object:
        """Run a statement once for each mapping of values."""

    def begin(self) -> None:
        """Begin a transaction that writes."""

    def foreign_commits(self) -> int:
        """Return a number that changes when another process has committed.

        It compares with others of this connection only.
        """

    def spoils_group(self, error: Exception) -> bool:
        """Return whether an error is the database's, not the command's: its group fails with it."""

    def close(self) -> None:
        """Close the connection; what is not committed is undone."""


class Heartbeat(NamedTuple):
    """A worker's last sign of life, in ms on the clock of one boot of its host."""

    seen_at: int
    boot_id: str


class Backend(Protocol):
    """One kind of database: how to connect, and which other processes use it.

    A class method `open(url)` makes one; it creates or migrates the tables, and raises
    `StorageError` if the database cannot be used.
    """

    @property
    def worker_id(self) -> str:
        """This process's identity among those on the same database."""

    @property
    def reader(self) -> AsyncEngine:
        """Connections for reading only, which see what is committed."""

    @property
    def scanner(self) -> Engine:
        """Connections for reading only, in threads; `SCANNERS` of them are used at once.

        A result is one state of the database, however long it is read and whatever is written
        meanwhile. It does not delay writing.
        """

    def connect(self) -> WritingConnection:
        """Open the connection that writes."""

    def beat(self, tx: Transaction) -> None:
        """Record inside a transaction that this process is alive."""

    def is_gone(self, worker_id: str, heartbeat: Heartbeat | None, lease_seconds: float) -> bool:
        """Return whether a worker has ended, or was silent for a lease. Raises `OSError`."""

    def unblock(self, worker_id: str) -> None:
        """End a worker that is suspended inside a transaction, if that blocks other processes."""

    def facts(self) -> dict[str, str]:
        """Return version and settings, for the health page."""

    async def close(self) -> None:
        """Release everything. Idempotent."""
