"""The errors of this package, and what a backend offers: what SQLite or PostgreSQL do each in its own way.

All else is written once: reads in `database.py`, writes in `transactions/`, as portable SQL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine

    from antiphon.data.transactions import Transaction


class Watch(Protocol):
    """A subscription to hints about one thread. Subscribe first, then read: then nothing falls in between."""

    def clear(self) -> None:
        """Forget hints so far. Call it before reading."""

    async def wait(self) -> None:
        """Return when the thread may have changed since `clear`."""


class Cursor(Protocol):
    """The rows of a statement."""

    @property
    def rowcount(self) -> int:
        """How many rows the statement has changed."""

    def fetchone(self) -> Any:
        """The next row as a tuple, or None."""

    def fetchall(self) -> list[Any]:
        """All rows that are left."""


class WritingConnection(Protocol):
    """The one connection of a process that writes. `COMMIT` and savepoints are statements like others."""

    def execute(self, sql: str, values: Mapping[str, Any] = ..., /) -> Cursor:
        """Run a statement, whose `:names` stand for values."""

    def executemany(self, sql: str, values: Sequence[Mapping[str, Any]], /) -> object:
        """Run a statement once for each mapping of values."""

    def begin(self) -> None:
        """Begin a transaction that writes."""

    def foreign_commits(self) -> int:
        """A number that changes when another process has committed, compared within this connection only."""

    def spoils_group(self, error: Exception) -> bool:
        """Whether an error is the store's, not the command's: then its neighbours fail with it."""

    def close(self) -> None:
        """Close it; what is not committed is undone."""


class Heartbeat(NamedTuple):
    """What a worker last said of itself."""

    seen_at: int
    boot_id: str


class Backend(Protocol):
    """One kind of database: connecting, and who else is there."""

    @property
    def worker_id(self) -> str:
        """This process's identity among those on the same database."""

    @property
    def reader(self) -> AsyncEngine:
        """Connections for reading only."""

    @property
    def scanner(self) -> Engine:
        """Connections for reading only, in threads."""

    def connect(self) -> WritingConnection:
        """Open the connection that writes."""

    def beat(self, tx: Transaction) -> None:
        """Say inside a transaction that this process lives."""

    def is_gone(self, worker_id: str, said: Heartbeat | None, lease_seconds: float) -> bool:
        """Whether a worker has ended, or was silent for a lease. Raises `OSError`."""

    def unblock(self, worker_id: str) -> None:
        """End a worker that stands still inside a transaction, which blocks others if nothing else ends it."""

    def facts(self) -> dict[str, str]:
        """Version and settings, for the health page."""

    async def close(self) -> None:
        """Release everything. Idempotent."""
