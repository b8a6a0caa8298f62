"""Creates and deletes threads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from antiphon.data import reads, transactions
from antiphon.data.database import Database
from antiphon.data.errors import Busy, IdempotencyConflict
from antiphon.data.ids import new_id, same_id
from antiphon.data.records import Thread
from antiphon.orchestrator.engine.users import own_thread
from antiphon.orchestrator.flows.conversation import bound_flow
from antiphon.orchestrator.request import checked_title

DELETE_SECONDS = 10.0
"""How long deleting a thread waits for its runs to end."""


async def create_thread(
    database: Database, user: str, title: str | None, state: bytes, key: str | None, at: int
) -> Thread:
    """Create a thread, or return the one created before with the same idempotency key.

    `state` is what its first run begins with; `at` is in ms. Raises `BadRequest`,
    `IdempotencyConflict`.
    """
    title = checked_title(title)
    thread = Thread(
        id=same_id("thread", user, key) if key else new_id(),
        user_id=user,
        title=title,
        created_at=at,
        updated_at=at,
        last_seq=0,
        head_message_id=None,
    )
    await database.write(transactions.create_thread, thread, state)
    stored = await own_thread(database, thread.id, user)
    stored_state = await database.fetch(reads.thread_state, thread.id)
    if (stored.title, bound_flow(stored_state)) != (title, bound_flow(state)):
        raise IdempotencyConflict
    return stored


async def delete_thread(
    database: Database, thread_id: str, stop: Callable[[str], Awaitable[None]]
) -> None:
    """Stop a thread's runs with `stop`, wait for their ends, and delete the thread.

    Raises `Busy` if a run does not end in time, or one begins meanwhile.
    """
    try:
        async with asyncio.timeout(DELETE_SECONDS):
            await _stop_runs(database, thread_id, stop)
    except TimeoutError:
        raise Busy from None
    await database.delete_thread(thread_id)


async def _stop_runs(
    database: Database, thread_id: str, stop: Callable[[str], Awaitable[None]]
) -> None:
    """Stop a thread's runs, the newest first so that none of them begins, until all have ended."""
    stopped: set[str] = set()
    with database.watch(thread_id) as watch:
        while True:
            watch.clear()
            runs = await database.fetch(reads.open_runs, thread_id)
            if not runs:
                return
            for run in runs:
                if run.id not in stopped:
                    await stop(run.id)
                stopped.add(run.id)
            await watch.wait()
