"""Who executes runs: the port, and the table of what implements it.

The database is the queue. Every run is stored before it is executed, with the status `queued` or
`running`; any executor on the same database may claim a queued one (`Database.claim`). So a run may
be accepted by one process and executed by another, and what `submit` reports is only a hint.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from antiphon.data.database import Database
from antiphon.data.records import RunRecord
from antiphon.orchestrator.engine.runner import Runner
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.graphs.served import ServedGraph


class Executor(Protocol):
    """Executes the runs of an engine, in this process or elsewhere."""

    @property
    def worker(self) -> str | None:
        """The worker that owns a run as soon as it is accepted or answered.

        None leaves the run queued, for any executor on the database to claim.
        """

    def begin(self) -> None:
        """Start. Runs that are queued, or whose worker was lost, may be claimed from now on."""

    def submit(self, run: RunRecord, served: ServedGraph) -> None:
        """Take note of a run that was accepted or answered. Never waits.

        The run is owned by `worker`, or queued: without a worker, or after another run of its
        thread.
        """

    async def cancel(self, run: RunRecord, by: str) -> None:
        """Stop a run for a user whose request to stop it is stored with the run."""

    async def close(self) -> None:
        """Hand unfinished runs back, uncharged. Idempotent."""


MakeExecutor = Callable[
    [Database, Callable[[str], Awaitable[ServedGraph | None]], Environment], Executor
]
"""Makes an executor. The function returns a graph by the name that a run records."""

EXECUTORS: dict[str, MakeExecutor] = {"local": Runner}
"""Executors by the name that `Environment.executor` has."""
