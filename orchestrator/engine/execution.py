"""One execution of one run: from its claim to its end, its question to a human, or its loss."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from antiphon.data import transactions
from antiphon.data.database import Database
from antiphon.data.errors import AntiphonError, Fenced, StorageError
from antiphon.data.records import Fence, RunRecord
from antiphon.orchestrator.engine.graph_run import GraphResult, GraphRun
from antiphon.orchestrator.engine.log import events_so_far
from antiphon.orchestrator.engine.run_end import RunEnd
from antiphon.orchestrator.engine.trace import RunTrace
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.errors import Crashed, CrashLoop
from antiphon.orchestrator.events import RunAttempt
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.recording.callbacks import EventHandler
from antiphon.orchestrator.recording.view import RECOVERED, RESUMED, RunView
from antiphon.orchestrator.recording.writer import RunWriter, backoff

log = logging.getLogger("antiphon.run")

STOP_SECONDS = 5.0
"""How long a graph may take to end after it was stopped."""


class Execution:
    """Executes a claimed run in a task of its own, which does not depend on any connection."""

    def __init__(
        self,
        database: Database,
        served: ServedGraph,
        run: RunRecord,
        environment: Environment,
        took_over: bool = False,
    ) -> None:
        self.run = run
        self.successor: str | None = None
        """The id of the thread's next queued run, after this one has ended."""
        self._database = database
        self._served = served
        self._environment = environment
        self._took_over = took_over
        self._trace: RunTrace | None = None
        self._cancelled_by: str | None = run.cancel_requested_by
        self._handing_back = False
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._graph: GraphRun | None = None
        self._graph_task: asyncio.Task[GraphResult] | None = None

    def cancel(self, by: str) -> None:
        """Stop the graph. The run ends as cancelled, with the text so far."""
        self._cancelled_by = self._cancelled_by or by
        self._stop()

    def hand_back(self) -> None:
        """Stop the graph. Another worker continues the run."""
        self._handing_back = True
        self._stop()

    def _stop(self) -> None:
        if self._graph is not None:
            self._graph.close()
        if self._graph_task is not None:
            self._graph_task.cancel()
            if not self._stopped.done():
                self._stopped.set_result(None)

    async def __call__(self) -> None:
        """Execute. Never raises: an error ends the run, or leaves it to another worker."""
        writer: RunWriter | None = None
        try:
            trace = self._trace = RunTrace(self.run, self._environment)
            past = await self._past(trace)
            trace.begin(after_crash=self._took_over)
            writer = RunWriter(self._database, self.run, self._environment, past, trace.see)
            writer.on_error = self._stop
            limits = self._environment.limits
            handler = EventHandler(writer, self._served.shape, self.run.attempt, limits)
            self.successor = await self._execute(writer, handler)
        except Fenced:
            log.warning("a run is another worker's now", extra=self._labels())
            if self._trace is not None:
                self._trace.drop()
        except Exception:
            log.exception("a run was abandoned", extra=self._labels())
            await self._abandon()
        finally:
            if writer is not None:
                await writer.close()
            if self._trace is not None:
                self._trace.close()

    async def _abandon(self) -> None:
        """Leave the run to the next worker, as soon as the database can store that."""
        fence = Fence(run_id=self.run.id, epoch=self.run.lease_epoch)
        for delay in backoff():
            try:
                await self._database.write(transactions.hand_back, fence, charged=True)
                break
            except StorageError:
                await asyncio.sleep(delay)

    def _labels(self) -> dict[str, str]:
        """Return what log lines about this run carry."""
        labels = {"run_id": self.run.id, "thread_id": self.run.thread_id}
        trace_id = self._trace.trace_id if self._trace is not None else None
        return labels | ({"trace_id": trace_id} if trace_id else {})

    async def _past(self, trace: RunTrace) -> RunView:
        """Return what earlier executions of this run have left in the log."""
        view = RunView()
        async for recorded in events_so_far(self._database, self.run):
            view.see(recorded.event, recorded.seq)
            trace.replay(recorded.event, recorded.at)
        return view

    # -- from the beginning to the end -------------------------------------------------------------

    async def _execute(self, writer: RunWriter, handler: EventHandler) -> str | None:
        """Run the graph and write how it ends. Returns the thread's next run if this one ended."""
        end = RunEnd(self._served, self.run, self._environment, writer, handler)
        graph = GraphRun(self._database, self._environment, self._served, self.run, writer, handler)
        if self._cancelled_by is not None:
            return await end.cancel(self._cancelled_by)
        self._announce(writer)
        hopeless = self._hopeless()
        if hopeless is not None:
            return await end.fail(hopeless, self._labels())
        if writer.view.stopped and writer.view.asked is not None:
            return await end.stop_at(writer.view.asked, await graph.state_at_breakpoint())
        self._graph = graph
        task = self._graph_task = asyncio.create_task(graph(), name=f"run {self.run.id}")
        if self._handing_back:
            self._stop()
        await self._wait_for(task)
        cancelled = not task.done() or task.cancelled()
        error = writer.error if cancelled else task.exception()
        if isinstance(error, Fenced):
            raise error
        if self._handing_back and cancelled:
            await writer.flush()
            await self._database.write(transactions.hand_back, writer.fence, charged=False)
            return None
        if self._cancelled_by is not None and (cancelled or error is not None or handler.waits):
            return await end.cancel(self._cancelled_by)
        if error is not None or cancelled:
            return await end.fail(error or asyncio.CancelledError(), self._labels())
        result = task.result()
        if result.question is None:
            return await end.complete(result, self._labels())
        await end.ask(result.question)
        return None

    def _announce(self, writer: RunWriter) -> None:
        """Report the texts that this execution will write again."""
        view, attempt = writer.view, self.run.attempt
        interrupted = view.interrupted()
        if attempt > view.attempt:
            unfinished = view.unfinished()
            writer.emit(RunAttempt(attempt=attempt, reason=RECOVERED, supersedes=unfinished))
        if interrupted.spans:  # also if the worker was lost after the answer
            writer.emit(RunAttempt(attempt=attempt, reason=RESUMED, supersedes=interrupted))

    def _hopeless(self) -> AntiphonError | None:
        """Return why a run that was lost with its process is not tried again, or None."""
        if self.run.charges > self._environment.max_attempts:
            return CrashLoop()
        return Crashed() if self.run.crashes and self._served.on_crash == "fail" else None

    async def _wait_for(self, graph: asyncio.Task[GraphResult]) -> None:
        """Wait until the graph ends. One that catches its cancellation and goes on is left behind.

        Its writes are fenced, and its exception does not matter.
        """
        waited: list[asyncio.Future[Any]] = [graph, self._stopped]
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if not graph.done():
            await asyncio.wait([graph], timeout=STOP_SECONDS)
        if not graph.done():
            message = "a graph goes on although it was stopped, and is left behind"
            log.warning(message, extra=self._labels())
            graph.add_done_callback(lambda task: task.cancelled() or task.exception())
