"""Executes runs in this process: its own ones, and those that other processes have left behind."""

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
from antiphon.orchestrator.engine.environment import Environment
from antiphon.orchestrator.engine.execution import Execution
from antiphon.orchestrator.engine.exits import run_context
from antiphon.orchestrator.graphs.served import ServedGraph

log = logging.getLogger("antiphon.engine")

QUARANTINE_SECONDS = 0.5
"""How long a recovered run runs before the next one is taken up."""
ALONE_SECONDS = 30.0
"""How long others are kept from a run that was lost more than once."""
SCAN_SECONDS = 1.0
"""How often orphaned runs are looked for, and requests to cancel own ones."""


class Runner:
    """Owns the executions of one process. `graph` gives a graph by the name that runs record."""

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

    def begin(self) -> None:
        """Take up what earlier processes left behind, and keep looking."""
        self._tasks = [
            asyncio.create_task(self._recover(), name="recovery"),
            asyncio.create_task(self._heed_cancels(), name="cancel requests"),
        ]

    async def close(self) -> None:
        """Hand unfinished runs back, uncharged. Idempotent."""
        self._closing = True
        self._stopped.set()  # a query that is under way comes to its end: cancelled, it would outlive the loop
        for execution, _ in list(self._executions.values()):
            execution.hand_back()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        while self._claims or self._executions:
            pending: set[asyncio.Future[Any]] = {*self._claims, *(task for _, task in self._executions.values())}
            await asyncio.wait(pending)

    def cancel(self, run_id: str, by: str) -> bool:
        """Stop a run that is executed here; False where it is not."""
        entry = self._executions.get(run_id)
        if entry is not None:
            entry[0].cancel(by)
        return entry is not None

    def spawn(self, record: RunRecord, served: ServedGraph, took_over: bool = False) -> asyncio.Task[None]:
        """Execute a run that this process owns."""
        self._environment.observe("run_started", 1)
        execution = Execution(self._database, served, record, self._environment, took_over)
        task = asyncio.create_task(self._execute(execution), name=f"execution {record.id}", context=run_context())
        self._executions[record.id] = (execution, task)
        if self._closing:
            execution.hand_back()
        return task

    async def _execute(self, execution: Execution) -> None:
        try:
            await execution()
        finally:
            self._executions.pop(execution.run.id, None)
        if execution.successor is not None and not self._closing:
            await self.take_up(execution.successor)

    async def take_up(self, run_id: str, held_by: str | None = None) -> asyncio.Task[None] | None:
        """Claim a run and execute it; None where another worker was first. What is claimed is executed or handed back,
        also when whoever asked for it is cancelled meanwhile."""
        claim = asyncio.ensure_future(self._claim(run_id, held_by))
        self._claims.add(claim)
        claim.add_done_callback(self._claims.discard)
        return await asyncio.shield(claim)

    async def _claim(self, run_id: str, held_by: str | None) -> asyncio.Task[None] | None:
        try:
            known = await self._database.fetch(reads.run, run_id)
            served = await self._graph(known.graph) if known is not None else None
            if served is None:
                return None  # another process may serve it
            record = await self._database.claim(run_id, self._database.worker_id, held_by=held_by)
        except StorageError:
            log.exception("a run could not be claimed", extra={"run_id": run_id})
            return None
        return self.spawn(record, served, took_over=held_by is not None) if record is not None else None

    async def _recover(self) -> None:
        """Take up orphaned runs, for ever: those first that look harmless."""
        while not self._closing:
            orphans: list[RunRecord] = []
            try:
                orphans = await self._database.orphans(self._environment.lease_seconds)
            except Exception:
                log.exception("orphaned runs could not be read, and will be again")
            for run in sorted(orphans, key=_suspicious):
                if self._closing:
                    return
                try:
                    if await self._graph(run.graph) is not None:
                        await self._take_over(run)
                except Exception:  # the runs behind it are not to wait for this one
                    log.exception("a run could not be recovered, and will be again", extra={"run_id": run.id})
            await self._pause(SCAN_SECONDS)

    async def _take_over(self, run: RunRecord) -> None:
        """Continue one orphaned run, carefully: it may be what killed its process.

        Runs begin one after the other; one that was lost more than once since it last got anywhere runs alone.
        """
        suspicious = _suspicious(run)
        if suspicious and (others := [task for _, task in self._executions.values()]):
            await asyncio.wait(others, timeout=ALONE_SECONDS)
        task = await self.take_up(run.id, run.owner)
        if task is None:
            return
        self._environment.observe("recovered", 1)
        log.info("a run continues after its worker was lost", extra={"run_id": run.id})
        await asyncio.wait([task], timeout=ALONE_SECONDS if suspicious else QUARANTINE_SECONDS)

    async def _heed_cancels(self) -> None:
        """Stop own runs that another process was asked to cancel, for ever."""
        while not self._closing:
            await self._pause(SCAN_SECONDS / 2)
            try:
                requested = (
                    await self._database.fetch(reads.cancel_requests, self._database.worker_id)
                    if self._executions
                    else []
                )
                for run in requested:
                    self.cancel(run.id, run.cancel_requested_by or "unknown")
            except Exception:
                log.exception("requests to cancel could not be read, and will be again")

    async def _pause(self, seconds: float) -> None:
        """Wait, but not beyond the runner's end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()


def _suspicious(run: RunRecord) -> bool:
    """Whether a run was lost more than once since it last got anywhere: it may be what kills its process."""
    return run.charges > 1
