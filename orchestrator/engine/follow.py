"""Reads threads and runs from the log, as far as they are, and then as they grow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from antiphon.data import reads
from antiphon.data.database import Database
from antiphon.data.hints import Watch
from antiphon.data.records import Row, RunRecord
from antiphon.orchestrator.engine.log import recorded
from antiphon.orchestrator.events import Interrupt, Recorded

BATCH_EVENTS = 64
BATCH_BYTES = 64 * 1024
"""A reader gets at most this much at once."""


class LogReader:
    """Follows threads of one database until it drains."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.draining = False

    def drain(self) -> None:
        """End all followers."""
        self.draining = True
        self._database.wake()

    async def follow(
        self, thread_id: str, after: int, run_id: str | None, tick: float | None
    ) -> AsyncIterator[list[Recorded]]:
        """Yield a thread's events in batches, as `Engine.follow` does."""
        loop = asyncio.get_running_loop()
        next_tick = loop.time() + tick if tick else None
        at_question = hinted = False
        unsure = True
        with self._database.watch(thread_id) as watch:
            while not self.draining:
                watch.clear()
                rows = _bounded(await self._database.read(thread_id, after, BATCH_EVENTS))
                if rows:
                    after = rows[-1].seq
                    hinted = False  # a hint without an event may mean that the thread is deleted
                    batch = [
                        recorded(row) for row in rows if run_id is None or row.run_id == run_id
                    ]
                    if batch:
                        yield batch
                        unsure = False  # a reader that goes on inside a run reaches its end
                        if run_id is not None and batch[-1].ends_run:
                            return
                        at_question = run_id is not None and isinstance(batch[-1].event, Interrupt)
                elif at_question or (
                    (unsure or hinted) and await self._is_over(thread_id, run_id, after)
                ):
                    return
                else:
                    unsure = False
                    hinted = await _until(watch, next_tick)
                if tick and next_tick and loop.time() >= next_tick:
                    next_tick += tick
                    yield []
                await asyncio.sleep(0)  # a replay must not starve the loop

    async def _is_over(self, thread_id: str, run_id: str | None, after: int) -> bool:
        """Return whether nothing more can come: no thread, or nothing more of the run."""
        if run_id is None:
            return await self._database.fetch(reads.thread, thread_id) is None
        run = await self._database.fetch(reads.run, run_id)
        return run is None or not await self.has_more(run, after)

    async def has_more(self, run: RunRecord, after: int) -> bool:
        """Return whether a reader at this place has to read or to wait.

        It has not at the run's end, nor at its open question.
        """
        if run.status != "interrupted":
            return run.last_seq is None or after < run.last_seq
        while rows := await self._database.read(run.thread_id, after, BATCH_EVENTS):
            if any(row.run_id == run.id for row in rows):
                return True
            after = rows[-1].seq
        return False


async def _until(watch: Watch, deadline: float | None) -> bool:
    """Wait for a hint, or until a time of the event loop. Returns whether there was a hint."""
    try:
        async with asyncio.timeout_at(deadline):
            await watch.wait()
    except TimeoutError:
        return False
    return True


def _bounded(rows: list[Row]) -> list[Row]:
    """Return the rows that fit in a batch, at least one."""
    size = 0
    for count, row in enumerate(rows):
        size += len(row.payload)
        if size > BATCH_BYTES and count:
            return rows[:count]
    return rows
