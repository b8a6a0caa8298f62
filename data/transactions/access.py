"""Revoked tokens, tickets for one login, what clients have been shown, and workers' heartbeats."""

from __future__ import annotations

from antiphon.data.records import DAY_MS
from antiphon.data.transactions.transaction import Transaction, insertion


def remember(tx: Transaction, key: tuple[str, str, str], run_id: str, seq: float) -> None:
    """Store which run a connection was shown last, and up to which frame.

    `key` is `(user, dialect, connection)`.
    """
    user_id, dialect, connection = key
    tx.execute(
        "INSERT INTO positions (user_id, dialect, connection, run_id, seq)"
        " VALUES (:user_id, :dialect, :connection, :run_id, :seq)"
        " ON CONFLICT (user_id, dialect, connection)"
        " DO UPDATE SET run_id = excluded.run_id, seq = excluded.seq",
        user_id=user_id,
        dialect=dialect,
        connection=connection,
        run_id=run_id,
        seq=seq,
    )


def revoke(tx: Transaction, kind: str, value: str, at: int) -> None:
    """Revoke a token (`kind` jti), or a user's tokens issued before `at` (`kind` user; ms).

    An earlier `at` than the stored one changes nothing.
    """
    tx.execute(
        "INSERT INTO revocations (kind, value, at) VALUES (:kind, :value, :at)"
        " ON CONFLICT (kind, value) DO UPDATE SET at = excluded.at"
        " WHERE revocations.at < excluded.at",
        kind=kind,
        value=value,
        at=at,
    )


def issue_ticket(tx: Transaction, digest: bytes, holder: bytes, now: int, expires_at: int) -> None:
    """Store a ticket by its digest, and delete expired ones; times in ms."""
    tx.execute("DELETE FROM tickets WHERE expires_at < :now", now=now)
    statement = insertion("tickets", ("digest", "holder", "expires_at"))
    tx.execute(statement, digest=digest, holder=holder, expires_at=expires_at)


def redeem_ticket(tx: Transaction, digest: bytes, now: int) -> bytes | None:
    """Delete a ticket. Return its holder, or None if it is unknown, used or expired."""
    ticket = tx.one(
        "DELETE FROM tickets WHERE digest = :digest RETURNING holder, expires_at", digest=digest
    )
    if ticket is None:
        return None
    holder, expires_at = ticket
    return holder if expires_at >= now else None


def heartbeat(tx: Transaction, worker: str, boot_id: str, now: int) -> None:
    """Record that a worker is alive. `now` is the host's monotonic clock in ms.

    So no step of the wall clock can expire a lease. Deletes workers of other boots, and those that
    were silent for a day: a worker without a row counts as gone, too.
    """
    tx.execute(
        "DELETE FROM workers WHERE boot_id <> :boot_id OR seen_at < :oldest",
        boot_id=boot_id,
        oldest=now - DAY_MS,
    )
    tx.execute(
        "INSERT INTO workers (id, seen_at, boot_id) VALUES (:worker, :now, :boot_id)"
        " ON CONFLICT (id) DO UPDATE SET seen_at = excluded.seen_at",
        worker=worker,
        now=now,
        boot_id=boot_id,
    )
