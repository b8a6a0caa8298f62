"""Executes runs in this process: those that it accepts, and those that other processes left."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from antiphon.data import reads
from antiphon.data.database import Database
from antiphon.data.errors import StorageError
from antiphon.data.records import RunRecord
from antiphon.orchestrator.engine.execution import Execution
from antiphon.orchestrator.engine.exits import run_context
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.graphs.served import ServedGraph

log = logging.getLogger("antiphon.engine")

QUARANTINE_SECONDS = 0.5
"""How long a recovered run runs before the next one is claimed."""
ALONE_SECONDS = 30.0
"""How long a run that was lost more than once runs without others."""
SCAN_SECONDS = 1.0
"""The time between two searches for orphaned runs; half of it for requests to stop own ones."""


class Runner:
    """The executor of one process, `antiphon.orchestrator.engine.executors.Executor`."""

    def __init__(
        self,
        database: Database,
        graph: Callable[[str], Awaitable[ServedGraph | None]],
        environment: Environment,
    ) -> None:
        self._database = database
        self._graph = graph
        self._environment = environment
        self._executions: dict[str, tuple[Execution, asyncio.Task[None]]] = {}
        self._claims: set[asyncio.Future[asyncio.Task[None] | None]] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing = False
        self._stopped = asyncio.Event()

    @property
    def worker(self) -> str:
        """This process, which owns the runs that it accepts."""
        return self._database.worker_id

    def begin(self) -> None:
        """Claim runs that earlier processes left, and keep looking for more."""
        self._tasks = [
            asyncio.create_task(self._recover(), name="recovery"),
            asyncio.create_task(self._heed_cancels(), name="cancel requests"),
        ]

    def submit(self, run: RunRecord, served: ServedGraph) -> None:
        """Execute a run that this process owns. A queued one follows the thread's earlier run."""
        if run.owner == self.worker:
            self._spawn(run, served)

    async def cancel(self, run: RunRecord, by: str) -> None:
        """Stop a run that is executed here. Claim and end one that is queued.

        Another process finds the request for its own runs in the database.
        """
        if self._stop(run.id, by) or run.status != "queued":
            return
        # It has said something before, so its execution writes the end. Wait until it is there.
        ending = await self._claim(run.id)
        if ending is not None:
            await asyncio.wait([ending])

    async def close(self) -> None:
        """Hand unfinished runs back, uncharged. Idempotent."""
        self._closing = True
        # A query that has begun comes to its end: if it was cancelled, it would outlive the loop.
        self._stopped.set()
        for execution, _ in list(self._executions.values()):
            execution.hand_back()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._claims or self._executions:
            tasks = [task for _, task in self._executions.values()]
            pending: set[asyncio.Future[Any]] = {*self._claims, *tasks}
            await asyncio.wait(pending)

    # -- executing ---------------------------------------------------------------------------------

    def _stop(self, run_id: str, by: str) -> bool:
        """Stop a run that is executed here. Returns False for any other."""
        if run_id not in self._executions:
            return False
        execution, _ = self._executions[run_id]
        execution.cancel(by)
        return True

    def _spawn(
        self, run: RunRecord, served: ServedGraph, took_over: bool = False
    ) -> asyncio.Task[None]:
        self._environment.observe("run_started", 1)
        execution = Execution(self._database, served, run, self._environment, took_over)
        name, context = f"execution {run.id}", run_context()
        task = asyncio.create_task(self._execute(execution), name=name, context=context)
        self._executions[run.id] = (execution, task)
        if self._closing:
            execution.hand_back()
        return task

    async def _execute(self, execution: Execution) -> None:
        try:
            await execution()
        finally:
            self._executions.pop(execution.run.id, None)
        if execution.successor is not None and not self._closing:
            await self._claim(execution.successor)

    async def _claim(self, run_id: str, held_by: str | None = None) -> asyncio.Task[None] | None:
        """Claim a run and execute it. Returns None if another worker was first.

        A claimed run is executed or handed back, even if the caller is cancelled meanwhile.
        """
        claim = asyncio.ensure_future(self._claim_undisturbed(run_id, held_by))
        self._claims.add(claim)
        claim.add_done_callback(self._claims.discard)
        return await asyncio.shield(claim)

    async def _claim_undisturbed(
        self, run_id: str, held_by: str | None
    ) -> asyncio.Task[None] | None:
        try:
            stored = await self._database.fetch(reads.run, run_id)
            served = await self._graph(stored.graph) if stored is not None else None
            if served is None:
                return None  # another process may serve it
            run = await self._database.claim(run_id, self.worker, held_by=held_by)
        except StorageError:
            log.exception("a run could not be claimed", extra={"run_id": run_id})
            return None
        return self._spawn(run, served, took_over=held_by is not None) if run is not None else None

    # -- runs of other processes -------------------------------------------------------------------

    async def _recover(self) -> None:
        """Claim orphaned runs, for ever: first those that are probably harmless."""
        while not self._closing:
            orphans: list[RunRecord] = []
            try:
                orphans = await self._database.orphans(self._environment.lease_seconds)
            except Exception:
                log.exception("orphaned runs could not be read, and will be again")
            for run in sorted(orphans, key=_is_suspicious):
                if self._closing:
                    return
                try:
                    await self._take_over(run)
                except Exception:  # the runs after it must not wait for this one
                    about = {"run_id": run.id}
                    log.exception("a run could not be recovered, and will be again", extra=about)
            await self._pause(SCAN_SECONDS)

    async def _take_over(self, run: RunRecord) -> None:
        """Continue one orphaned run. It may be the one that killed its process.

        Such runs begin one after the other; one that was lost more than once since a node last
        completed runs alone. A run that has no attempt yet was only queued, and killed nothing.
        """
        if await self._graph(run.graph) is None:
            return
        if run.attempt == 0:
            await self._claim(run.id)
            return
        suspicious = _is_suspicious(run)
        others = [task for _, task in self._executions.values()]
        if suspicious and others:
            await asyncio.wait(others, timeout=ALONE_SECONDS)
        task = await self._claim(run.id, run.owner)
        if task is None:
            return
        self._environment.observe("recovered", 1)
        log.info("a run continues after its worker was lost", extra={"run_id": run.id})
        await asyncio.wait([task], timeout=ALONE_SECONDS if suspicious else QUARANTINE_SECONDS)

    async def _heed_cancels(self) -> None:
        """Stop own runs that another process was asked to cancel, for ever."""
        while not self._closing:
            await self._pause(SCAN_SECONDS / 2)
            if not self._executions:
                continue
            try:
                for run in await self._database.fetch(reads.cancel_requests, self.worker):
                    self._stop(run.id, run.cancel_requested_by or "unknown")
            except Exception:
                log.exception("requests to cancel could not be read, and will be again")

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until the runner closes."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()


def _is_suspicious(run: RunRecord) -> bool:
    """Return whether a run was lost more than once since a node last completed."""
    return run.charges > 1
