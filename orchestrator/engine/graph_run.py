"""Runs a graph from where its run stands to its output, or to its question to a human."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.errors import is_invalid_resume
from langgraph.types import Command

from antiphon.data import reads
from antiphon.data.database import Database
from antiphon.data.records import GraphState, RunRecord
from antiphon.orchestrator.engine.checkpoints import RunCheckpoints
from antiphon.orchestrator.engine.thread_state import pack, unpack
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.events import Interrupt, Progress
from antiphon.orchestrator.graphs.generators import without_generators
from antiphon.orchestrator.graphs.inputs import Graph
from antiphon.orchestrator.graphs.run_config import run_config
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.questions.asking import Asking
from antiphon.orchestrator.questions.pausing import breakpoint_at, breakpoint_missed, question_of
from antiphon.orchestrator.recording.callbacks import EventHandler, custom_event
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.request import HistoryMessage, Request


class GraphResult(NamedTuple):
    """Where a graph has stopped: with its output, or with a question to a human.

    `state` is the graph's state for the thread's next run, if it keeps one there.
    """

    output: Any = None
    question: Interrupt | None = None
    state: GraphState | None = None


class _Invocation(NamedTuple):
    """A graph and what it is invoked with."""

    graph: Graph
    entry: Any
    config: RunnableConfig
    context: Any


class GraphRun:
    """The graph of one execution of a run."""

    def __init__(
        self,
        database: Database,
        environment: Environment,
        served: ServedGraph,
        run: RunRecord,
        writer: RunWriter,
        handler: EventHandler,
    ) -> None:
        self._database = database
        self._environment = environment
        self._served = served
        self._run = run
        self._writer = writer
        self._handler = handler
        self._asking: Asking | None = None

    def close(self) -> None:
        """Let no tool wait any more for its turn to ask."""
        if self._asking is not None:
            self._asking.close()

    async def __call__(self) -> GraphResult:
        """Run the graph. Raises what it raises; `BadInput` or `BadContext` if it cannot begin."""
        request = msgspec.json.decode(self._run.input, type=Request)
        request = msgspec.structs.replace(request, message_id=self._run.input_message_id)
        fresh = self._run.attempt <= 1 and self._writer.view.resume is None
        base = await self._base()
        saver = self._saver(base, fresh)
        starting = Progress(value=0.0, stage="starting", message="Processing started")
        self._writer.emit(starting)
        config = run_config(self._run, request)
        store = self._environment.store
        async with self._served.opened(config, request.context_values, store) as opened:
            self._meet(opened, request, first=base is None)
            requested_limit = (request.config or {}).get("recursion_limit")
            limit = self._served.step_limit(requested_limit)
            if limit is not None:
                config["recursion_limit"] = limit
            own_store = store if opened.store is None else opened.store
            update = {"checkpointer": saver, "store": own_store}
            graph = without_generators(opened).copy(update=update)
            entry = await self._entry(request, base, fresh)
            context = self._served.make_context(request, self._writer.emit)
            result = await self._invoke(_Invocation(graph, entry, config, context), saver)
        if result.question is not None:
            return result
        return result._replace(state=await self._state_left(saver, base))

    async def state_at_breakpoint(self) -> GraphState | None:
        """Return the state that the graph stopped with, without running it."""
        base = await self._base()
        return await self._state_left(self._saver(base, fresh=False), base)

    # -- the beginning -----------------------------------------------------------------------------

    def _meet(self, graph: Graph, request: Request, first: bool) -> None:
        """Check that a graph can take the message, after a factory has made it for this run.

        Raises `BadInput` or `BadContext`.
        """
        if self._served.graph is None:
            self._served = self._served.made(graph)
            self._handler.answers.shape = self._served.shape
        self._served.check(request, first)

    async def _base(self) -> GraphState | None:
        """Return the state that the run begins from: what the graph left on this branch."""
        if self._served.state == "messages":
            return None
        graph, message_id = self._run.graph, self._run.input_message_id
        return await self._database.fetch(reads.graph_state, graph, message_id)

    def _saver(self, base: GraphState | None, fresh: bool) -> RunCheckpoints:
        """Return the graph's checkpointer, which begins from `base`."""
        return RunCheckpoints(
            self._database,
            self._writer,
            self._run.thread_id,
            base=unpack(base.value) if base else (),
            fresh=fresh,
        )

    async def _entry(self, request: Request, base: GraphState | None, fresh: bool) -> Any:
        """Return what the graph is invoked with.

        It is the graph's input, or a human's answers, or None to go on from the last checkpoint.
        """
        if not fresh:
            last = await self._database.fetch(reads.checkpoint, self._run.id, "", None)
            if last is not None:
                resume = self._writer.view.resume
                return Command(resume=resume) if resume else None
        left = await self._database.fetch(reads.thread_state, self._run.thread_id)
        return self._served.make_input(request, await self._history(request, base), left)

    async def _history(self, request: Request, base: GraphState | None) -> list[HistoryMessage]:
        """Return the messages before this run's one, on its branch, that are not in `base`.

        A client that keeps the conversation sends it each time: it counts if there is no state.
        """
        if request.history and base is None:
            return list(request.history)
        seen = base.message_id if base else None
        message_id = self._run.input_message_id
        *earlier, _ = await self._database.fetch(reads.branch, message_id, seen)
        return [HistoryMessage(role=m.role, content=m.content, id=m.id) for m in earlier]

    # -- the graph ---------------------------------------------------------------------------------

    async def _invoke(self, invocation: _Invocation, saver: RunCheckpoints) -> GraphResult:
        """Run the graph until it ends or asks a human."""
        graph, entry, config, _ = invocation
        view, handler = self._writer.view, self._handler
        if entry is None:
            missed = await breakpoint_missed(graph, config, view)
            if missed is not None:
                return GraphResult(question=await breakpoint_at(graph, config, missed))
        asking = self._asking = Asking(view.tool_order, self._writer.emit)
        saver.on_read = asking.reads
        config["callbacks"] = [*asking.handlers, handler]
        try:
            output, refused = await self._stream(invocation)
        finally:
            asking.close()
        question = None
        if handler.interrupts:
            for order in asking.order(handler.interrupts):
                self._writer.emit(order)
            question = question_of(handler.interrupts, asking, view, refused)
        elif handler.breakpoint is not None:
            question = await breakpoint_at(graph, config, handler.breakpoint)
        return GraphResult(output, question)

    async def _stream(self, invocation: _Invocation) -> tuple[Any, bool]:
        """Stream the graph. Returns its output, and whether it has refused the human's answer."""
        try:
            return await _run_graph(invocation, self._writer), False
        except Exception as error:
            if not is_invalid_resume(error):
                raise
        await self._writer.store_questions()
        again = invocation._replace(entry=None)  # the graph asks again
        return await _run_graph(again, self._writer), True

    async def _state_left(
        self, saver: RunCheckpoints, base: GraphState | None
    ) -> GraphState | None:
        """Return the state for the thread's next run, if there is one. Raises `StateTooLarge`."""
        if self._served.state != "thread":
            return None
        return GraphState(
            graph=self._run.graph,
            message_id=self._run.reply_message_id,
            value=pack(await saver.leave()),
            follows=base.message_id if base else None,
        )


async def _run_graph(invocation: _Invocation, writer: RunWriter) -> Any:
    """Run a graph until it ends or stops, and return its output."""
    graph, entry, config, context = invocation
    output: Any = None
    async for namespace, mode, part in graph.astream(
        entry,
        config,
        context=context,
        stream_mode=["values", "custom"],
        output_keys=graph.output_channels,
        durability="sync",
        subgraphs=True,
    ):
        if mode == "custom":
            name = part.get("type", "custom") if isinstance(part, dict) else "custom"
            writer.emit(custom_event(str(name), part))
        elif not namespace:
            output = part
    return output
