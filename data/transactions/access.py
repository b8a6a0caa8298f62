"""Who may no longer come in, tickets that let somebody in once, and who is there: clients and workers."""

from __future__ import annotations

from antiphon.data.records import DAY_MS
from antiphon.data.transactions.transaction import Transaction, insertion


def remember(tx: Transaction, key: tuple[str, str, str], run_id: str, seq: float) -> None:
    """Store which run a connection has last been shown, and how much of it.

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
    """Refuse a token (`kind` jti) or a user's tokens issued before `at` (`kind` user; ms).

    A revocation never goes back.
    """
    tx.execute(
        "INSERT INTO revocations (kind, value, at) VALUES (:kind, :value, :at)"
        " ON CONFLICT (kind, value) DO UPDATE SET at = excluded.at WHERE revocations.at < excluded.at",
        kind=kind,
        value=value,
        at=at,
    )


def issue_ticket(tx: Transaction, digest: bytes, holder: bytes, now: int, expires_at: int) -> None:
    """Store a ticket by its digest, and forget those whose time is over; times in ms."""
    tx.execute("DELETE FROM tickets WHERE expires_at < :now", now=now)
    statement = insertion("tickets", ("digest", "holder", "expires_at"))
    tx.execute(statement, digest=digest, holder=holder, expires_at=expires_at)


def redeem_ticket(tx: Transaction, digest: bytes, now: int) -> bytes | None:
    """Take a ticket out of the store: its holder, or None if it is unknown, used or too old."""
    found = tx.one(
        "DELETE FROM tickets WHERE digest = :digest RETURNING holder, expires_at", digest=digest
    )
    return found[0] if found is not None and found[1] >= now else None


def heartbeat(tx: Transaction, worker: str, boot_id: str, now: int) -> None:
    """Say that a worker lives. `now` is the host's monotonic clock, so that no clock step can expire a lease.

    Forgets workers whose lease is over for a day, or was another boot's: one without a row is as gone
    as they are.
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
