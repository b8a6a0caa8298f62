"""What belongs to a user: runs, threads and a profile. Those of others are `NotFound`."""

from __future__ import annotations

import logging
from typing import TypeVar

from antiphon.data import reads, transactions
from antiphon.data.database import Database
from antiphon.data.errors import NotFound
from antiphon.data.records import RunRecord, Thread, may
from antiphon.orchestrator.profiles import Profile, checked_profile, decode_profile, encode_profile

Record = TypeVar("Record", RunRecord, Thread)

audit = logging.getLogger("antiphon.audit")


async def own_run(database: Database, run_id: str, user: str) -> RunRecord:
    """Return a run of this user. Raises `NotFound`."""
    return _own(await database.fetch(reads.run, run_id), user)


async def own_thread(database: Database, thread_id: str, user: str) -> Thread:
    """Return a thread of this user. Raises `NotFound`."""
    return _own(await database.fetch(reads.thread, thread_id), user)


def _own(record: Record | None, user: str) -> Record:
    if record is None:
        raise NotFound
    if not may(user, record):
        kind = "thread" if isinstance(record, Thread) else "run"
        about = {"user": user, f"{kind}_id": record.id}
        audit.warning("refused another user's %s", kind, extra=about)
        raise NotFound
    return record


async def find_thread(
    database: Database, user: str, thread_id: str | None, name: tuple[str, str] | None
) -> Thread | None:
    """Return a thread of this user by its id, or else by `(dialect, name)`; None if there is none.

    `transactions.accept` raises the error for a message to a thread that is not found.
    """
    thread = None
    if thread_id is not None:
        thread = await database.fetch(reads.thread, thread_id)
    elif name is not None:
        thread = await database.fetch(reads.named_thread, user, *name)
    return thread if thread is not None and may(user, thread) else None


async def profile_of(database: Database, user: str) -> Profile | None:
    """Return a user's profile, or None."""
    stored = await database.fetch(reads.profile, user)
    return decode_profile(stored) if stored is not None else None


async def save_profile(database: Database, user: str, profile: Profile | None, at: int) -> None:
    """Store a user's profile, or delete it for None. `at` is in ms. Raises `BadRequest`."""
    value = encode_profile(checked_profile(profile)) if profile is not None else None
    await database.write(transactions.save_profile, user, value, at)
