"""One execution of one run: from its claim to its terminal event, its question to a human, or its loss."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.errors import is_invalid_resume
from langgraph.types import Command

from antiphon.data import reads, transactions
from antiphon.data.database import Database
from antiphon.data.errors import AntiphonError, Fenced, StorageError
from antiphon.data.records import Fence, GraphState, Message, Row, RunRecord, RunStatus
from antiphon.orchestrator.engine.checkpoints import RunCheckpoints
from antiphon.orchestrator.engine.environment import Environment
from antiphon.orchestrator.engine.thread_state import pack, unpack
from antiphon.orchestrator.errors import Crashed, CrashLoop, NoAnswer, describe
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    AnyEvent,
    Custom,
    Interrupt,
    MessageBody,
    MessageSaved,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    decode,
    encode,
)
from antiphon.orchestrator.graphs.generators import without_generators
from antiphon.orchestrator.graphs.inputs import Graph
from antiphon.orchestrator.graphs.run_config import run_config
from antiphon.orchestrator.graphs.served import Conclusion, ServedGraph
from antiphon.orchestrator.questions.asking import Asking
from antiphon.orchestrator.questions.pausing import breakpoint_at, breakpoint_missed, question_of
from antiphon.orchestrator.questions.questions import stopped_text, unsaid
from antiphon.orchestrator.recording.callbacks import EventHandler, custom_event
from antiphon.orchestrator.recording.replies import Output, expected_texts
from antiphon.orchestrator.recording.texts import GAP
from antiphon.orchestrator.recording.tracing import HANDED_BACK, Happening, RunSpans, Span, context_of
from antiphon.orchestrator.recording.view import RECOVERED, RESUMED, RunView
from antiphon.orchestrator.recording.writer import RunWriter, backoff
from antiphon.orchestrator.request import HistoryMessage, Request
from antiphon.orchestrator.values import storable

log = logging.getLogger("antiphon.run")

UNREADABLE = "unreadable"
"""The name of the custom event that stands for a row which cannot be read."""
PAGE = 1000
STOP_SECONDS = 5.0
"""How long a graph that was stopped may take to end."""


class _Invocation(NamedTuple):
    """A graph and what it is invoked with."""

    graph: Graph
    entry: Any
    config: RunnableConfig
    context: Any


class Execution:
    """Executes a claimed run as a task of its own; the connection that asked for it may come and go."""

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
        """The thread's next queued run, once this one has ended."""
        self._database = database
        self._served = served
        self._environment = environment
        self._took_over = took_over
        self._spans: RunSpans | None = None
        """What becomes of the run in a trace, where somebody wants one."""
        self._cancelled_by: str | None = run.cancel_requested_by
        self._handing_back = False
        self._stopped: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._graph_task: asyncio.Task[Any] | None = None
        self._left: GraphState | None = None
        """The graph's state for the thread's next run, once the graph has come to its end."""
        self._keeps = False
        """Whether it is kept although the run failed."""
        self._asking: Asking | None = None
        self._question: Interrupt | None = None
        """What the graph asks a human, once it has stopped for one."""

    def cancel(self, by: str) -> None:
        """Stop the graph; the run ends as cancelled, with what was said so far."""
        self._cancelled_by = self._cancelled_by or by
        self._stop()

    def hand_back(self) -> None:
        """Stop the graph; another worker continues the run."""
        self._handing_back = True
        self._stop()

    def _stop(self) -> None:
        if self._asking is not None:
            self._asking.close()
        if self._graph_task is not None:
            self._graph_task.cancel()
            if not self._stopped.done():
                self._stopped.set_result(None)

    async def _graph_ends(self, graph: asyncio.Task[Any]) -> None:
        """Wait until the graph ends. One that catches its cancellation and goes on is left behind.

        What it still does is fenced, and its exception of no interest.
        """
        await asyncio.wait([graph, self._stopped], return_when=asyncio.FIRST_COMPLETED)
        if not graph.done():
            await asyncio.wait([graph], timeout=STOP_SECONDS)
        if not graph.done():
            log.warning("a graph goes on although it was stopped, and is left behind", extra=self._who())
            graph.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def __call__(self) -> None:
        """Execute. Never raises: what goes wrong becomes the run's end, or is another worker's business."""
        writer: RunWriter | None = None
        try:
            self._spans = self._traced()
            past = await self._past()
            self._begin_trace()
            writer = RunWriter(
                self._database, self.run, self._environment.clock, past, self._environment.observe, self._trace
            )
            writer.on_error = self._stop
            await self._execute(
                writer, EventHandler(writer, self._served.shape, self.run.attempt, self._environment.limits)
            )
        except Fenced:
            log.warning("a run is another worker's now", extra=self._who())
            self._spans = None  # the other one tells how this execution ended
        except Exception:
            log.exception("a run was abandoned", extra=self._who())
            await self._abandon()
        finally:
            if writer is not None:
                await writer.close()
            self._end_trace()

    async def _abandon(self) -> None:
        """Leave the run to whoever takes it up next, as soon as the store can be told so."""
        fence = Fence(run_id=self.run.id, epoch=self.run.lease_epoch)
        for delay in backoff():
            try:
                await self._database.write(transactions.hand_back, fence, charged=True)
                break
            except StorageError:
                await asyncio.sleep(delay)

    def _who(self) -> dict[str, str]:
        who = {"run_id": self.run.id, "thread_id": self.run.thread_id}
        return who | ({"trace_id": self._spans.trace_id} if self._spans else {})

    def _traced(self) -> RunSpans | None:
        """A fold for the run's spans; None where nobody takes them, or the request said that it is not to be traced."""
        if self._environment.export is None:
            return None
        context = context_of(self.run.id, msgspec.json.decode(self.run.input, type=Request).traceparent)
        return RunSpans(self.run, context) if context.sampled else None

    def _begin_trace(self) -> None:
        if self._spans is not None:
            self._tell(self._spans.begin(self._environment.clock(), after_crash=self._took_over))

    def _trace(self, what: Happening, at: int) -> None:
        if self._spans is not None:
            self._tell(self._spans.see(what, at))

    def _end_trace(self) -> None:
        if self._spans is not None:
            self._tell(self._spans.close(HANDED_BACK, self._environment.clock()))

    def _tell(self, spans: list[Span]) -> None:
        if self._environment.export is not None:
            for span in spans:
                self._environment.export(span)

    async def _past(self) -> RunView:
        """What earlier executions of this run have left in the log."""
        view = RunView()
        after = self.run.first_seq - 1
        while rows := await self._database.read(self.run.thread_id, after, PAGE):
            after = rows[-1].seq
            for row in rows:
                if row.run_id == self.run.id:
                    event = recorded(row).event
                    view.see(event, row.seq)
                    if self._spans is not None:
                        self._spans.see(event, row.at)  # told already, by the execution that they belong to
        return view

    async def _execute(self, writer: RunWriter, handler: EventHandler) -> None:
        view = writer.view
        if self._cancelled_by is not None:
            await self._end_early(writer, handler, "cancelled", None)
            return
        if self.run.attempt > view.attempt:
            writer.emit(RunAttempt(attempt=self.run.attempt, reason=RECOVERED, supersedes=view.unfinished()))
        elif (again := view.interrupted()).spans:
            writer.emit(RunAttempt(attempt=self.run.attempt, reason=RESUMED, supersedes=again))
        if hopeless := self._hopeless():
            await self._end_early(writer, handler, "failed", hopeless)
            return
        if view.stopped and view.asked is not None:
            await self._stop_at(writer, view.asked)
            return
        self._graph_task = asyncio.create_task(self._drive(writer, handler), name=f"run {self.run.id}")
        if self._handing_back:
            self._stop()
        await self._graph_ends(self._graph_task)
        cancelled = not self._graph_task.done() or self._graph_task.cancelled()
        error = writer.error if cancelled else self._graph_task.exception()
        if isinstance(error, Fenced):
            raise error
        if self._handing_back and cancelled:
            await writer.flush()
            await self._database.write(transactions.hand_back, writer.fence, charged=False)
        elif self._cancelled_by is not None and (cancelled or error is not None or handler.waits):
            await self._end_early(writer, handler, "cancelled", None)
        elif error is not None or cancelled:
            await self._end_early(writer, handler, "failed", error or asyncio.CancelledError())
        elif self._question is not None:
            await self._ask_human(writer, self._question)
        else:
            await self._complete(writer, handler, self._graph_task.result())

    async def _ask_human(self, writer: RunWriter, question: Interrupt) -> None:
        """Pause with a question, which is stored as the reply behind what was said before."""
        said = writer.view.answer
        question = unsaid(question, said)
        reply = self._reply(writer, f"{said}{GAP}{question.text}" if said else question.text, None, partial=False)
        await writer.pause(reply, MessageSaved(message=body_of(reply)), question)

    async def _stop_at(self, writer: RunWriter, asked: Interrupt) -> None:
        """End at a breakpoint, because the human said no. What comes next is not executed; nothing went wrong.

        The graph's state is the one that it stopped with.
        """
        base = await self._base()
        await self._keep_state(self._saver(writer, base, fresh=False), base)
        reply = self._reply(writer, stopped_text(asked), None, partial=False)
        span, agent, text = f"{writer.fence.epoch}.0", self._served.name, reply.content
        writer.emit(AgentStart(span=span, agent=agent))
        writer.emit(AgentChunk(span=span, agent=agent, text=text))
        writer.emit(AgentComplete(span=span, agent=agent, text=text))
        terminal = RunComplete(
            message_id=reply.id, text=reply.content, usage=writer.view.usage, execution_order=writer.view.order
        )
        await self._finish(writer, "completed", terminal, reply)

    def _hopeless(self) -> AntiphonError | None:
        """Why a run that was lost with its process is not tried again, if it is not."""
        if self.run.charges > self._environment.max_attempts:
            return CrashLoop()
        return Crashed() if self.run.crashes and self._served.on_crash == "fail" else None

    async def _drive(self, writer: RunWriter, handler: EventHandler) -> Any:
        """Run the graph from where it stands, and return its output."""
        given = msgspec.json.decode(self.run.input, type=Request)
        given = msgspec.structs.replace(given, message_id=self.run.input_message_id)
        fresh = self.run.attempt <= 1 and writer.view.resume is None
        base = await self._base()
        saver = self._saver(writer, base, fresh)
        writer.emit(Progress(value=0.0, stage="starting", message="Processing started"))
        config = run_config(self.run, given)
        async with self._served.opened(config, given.context_values, self._environment.store) as opened:
            self._meet(opened, given, handler, first=base is None)
            if (limit := self._served.step_limit((given.config or {}).get("recursion_limit"))) is not None:
                config["recursion_limit"] = limit
            store = self._environment.store if opened.store is None else opened.store
            graph = without_generators(opened).copy(update={"checkpointer": saver, "store": store})
            entry = await self._entry(given, writer.view, base, fresh)
            if entry is None and (missed := await breakpoint_missed(graph, config, writer.view)) is not None:
                self._question = await breakpoint_at(graph, config, missed)
                return None
            context = self._served.make_context(given, writer.emit)
            asking = self._asking = Asking(writer.view.tool_order, writer.emit)
            saver.on_read = asking.reads
            config["callbacks"] = [*asking.handlers, handler]
            state = await self._run_or_ask(_Invocation(graph, entry, config, context), asking, writer, handler)
        if self._question is None:
            await self._keep_state(saver, base)
        return state

    async def _run_or_ask(self, run: _Invocation, asking: Asking, writer: RunWriter, handler: EventHandler) -> Any:
        """Run the graph until it ends or stops for a human, and return its output."""
        refused = False
        try:
            output = await _run_graph(run, writer)
        except Exception as error:
            refused = is_invalid_resume(error)
            if not refused:
                raise
            await writer.store_questions()
            output = await _run_graph(run._replace(entry=None), writer)  # the graph asks again
        finally:
            asking.close()
        if handler.interrupts:
            for order in asking.order(handler.interrupts):
                writer.emit(order)
            self._question = question_of(handler.interrupts, asking, writer.view, refused)
        elif handler.breakpoint is not None:
            self._question = await breakpoint_at(run.graph, run.config, handler.breakpoint)
        return output

    def _saver(self, writer: RunWriter, base: GraphState | None, fresh: bool) -> RunCheckpoints:
        """The graph's checkpointer; `base` is what it begins from."""
        earlier = unpack(base.value) if base else ()
        return RunCheckpoints(self._database, writer, self.run.thread_id, base=earlier, fresh=fresh)

    async def _keep_state(self, saver: RunCheckpoints, base: GraphState | None) -> None:
        """Note the state for the thread's next run, if the graph keeps one there. Raises `StateTooLarge`."""
        if self._served.state == "thread":
            self._left = GraphState(
                graph=self.run.graph,
                message_id=self.run.reply_message_id,
                value=pack(await saver.leave()),
                follows=base.message_id if base else None,
            )

    def _meet(self, graph: Graph, given: Request, handler: EventHandler, first: bool) -> None:
        """Get to know the graph of this run. Raises `BadInput` or `BadContext` if it cannot take the message."""
        if self._served.graph is None:
            self._served = self._served.made(graph)
            handler.answers.shape = self._served.shape
        self._served.check(given, first)

    async def _base(self) -> GraphState | None:
        """The state that the run begins from: what the graph left on this branch of messages."""
        if self._served.state == "messages":
            return None
        return await self._database.fetch(reads.graph_state, self.run.graph, self.run.input_message_id)

    async def _entry(
        self,
        given: Request,
        view: RunView,
        base: GraphState | None,
        fresh: bool,
    ) -> Any:
        """What the graph is invoked with: its input, or a human's answers, or nothing to go on where it stood."""
        if fresh or await self._database.fetch(reads.checkpoint, self.run.id, "", None) is None:
            left = await self._database.fetch(reads.thread_state, self.run.thread_id)
            return self._served.make_input(given, await self._history(given, base), left)
        return Command(resume=view.resume) if view.resume else None

    async def _history(self, given: Request, base: GraphState | None) -> list[HistoryMessage]:
        """The messages before this run's one, along its branch, that `base` has not seen.

        A client that keeps the conversation sends it each time: it counts if there is no state.
        """
        if given.history and base is None:
            return list(given.history)
        seen = base.message_id if base else None
        *earlier, _ = await self._database.fetch(reads.branch, self.run.input_message_id, seen)
        return [HistoryMessage(role=m.role, content=m.content, id=m.id) for m in earlier]

    async def _complete(self, writer: RunWriter, handler: EventHandler, output: Any) -> None:
        """End with the answer that the graph's output gives, which is what then stands as shown."""
        writer.release()
        try:
            end = self._conclusion(writer.view, handler, output)
        except Exception as error:  # the run has done its work: it fails once, and is not tried again
            if self._left is not None:  # the graph did come to its end: only words are missing
                self._left = msgspec.structs.replace(self._left, message_id=self.run.input_message_id)
                self._keeps = True
            await self._end_early(writer, handler, "failed", error)
            return
        reply = self._reply(writer, end.text, end.author, partial=False)
        terminal = RunComplete(
            message_id=reply.id,
            text=end.text,
            primary_agent=end.author,
            confidence=end.confidence,
            sources=writer.view.cited(end.text),
            usage=writer.view.usage,
            execution_order=writer.view.order,
        )
        await self._finish(writer, "completed", terminal, reply, self._served.leave(output))

    def _conclusion(self, view: RunView, handler: EventHandler, output: Any) -> Conclusion:
        """What the run ends with. Raises `NoAnswer` if there is no text and no output."""
        last = view.order[-1] if view.order else None
        if self._served.conclude is not None:
            end = self._served.conclude(output)
            return end._replace(text=storable(end.text) or view.answer, author=end.author or last)
        given = msgspec.json.decode(self.run.input, type=Request)
        found = Output(output, given.message, self.run.input_message_id, given.inputs)
        expected = [storable(text) for text in expected_texts(found, view)]
        if not expected and not view.wrote:
            raise NoAnswer
        handler.answers.settle(expected, view.author_of(expected[-1]) if expected else "")
        texts = view.texts.answering()
        return Conclusion(view.answer, texts[-1].agent if texts else last)

    async def _end_early(
        self, writer: RunWriter, handler: EventHandler, status: RunStatus, error: BaseException | None
    ) -> None:
        """End with what was said so far, stored as a partial message."""
        handler.close(status)
        writer.release()
        for span in writer.view.open_spans():
            writer.emit(msgspec.structs.replace(span, finish_reason=status))
        text = writer.view.answer
        if writer.view.waiting:  # what was said is stored already, with the question
            text = ""
        reply = self._reply(writer, text, None, partial=True) if text else None
        partial_id = reply.id if reply else None
        terminal: AnyEvent
        if error is None:
            by = self._cancelled_by or "unknown"
            terminal = RunCancelled(by=by, partial_message_id=partial_id, partial_text=text)
        else:
            failure = describe(error)
            log.error("a run failed with %s", failure.code, exc_info=error, extra=self._who())
            terminal = RunError(
                code=failure.code,
                message=failure.message,
                retryable=failure.retryable,
                partial_message_id=partial_id,
                partial_text=text,
            )
        await self._finish(writer, status, terminal, reply)

    async def _finish(
        self,
        writer: RunWriter,
        status: RunStatus,
        terminal: AnyEvent,
        reply: Message | None,
        state: bytes | None = None,
    ) -> None:
        last: list[AnyEvent] = [MessageSaved(message=body_of(reply))] if reply is not None else []
        if status == "completed":
            last.append(Progress(value=1.0, stage="finishing", message="Done"))
        self.successor = await writer.finish(
            status,
            reply,
            encode(terminal),
            *last,
            terminal,
            state=state,
            graph_state=self._left if status == "completed" or self._keeps else None,
        )
        self._environment.observe(f"ended:{status}", 1)

    def _reply(self, writer: RunWriter, text: str, author: str | None, partial: bool) -> Message:
        return Message(
            id=self.run.reply_message_id,
            thread_id=self.run.thread_id,
            run_id=self.run.id,
            role="assistant",
            content=text,
            parent_id=writer.view.reply_to or self.run.input_message_id,
            author=author or self._served.name,
            partial=partial,
            created_at=self._environment.clock(),
        )


async def _run_graph(run: _Invocation, writer: RunWriter) -> Any:
    """Run a graph until it ends or stops, and return its output."""
    state: Any = None
    async for namespace, mode, part in run.graph.astream(
        run.entry,
        run.config,
        context=run.context,
        stream_mode=["values", "custom"],
        output_keys=run.graph.output_channels,
        durability="sync",
        subgraphs=True,
    ):
        if mode == "custom":
            name = part.get("type", "custom") if isinstance(part, dict) else "custom"
            writer.emit(custom_event(str(name), part))
        elif not namespace:
            state = part
    return state


def body_of(message: Message) -> MessageBody:
    """A stored message as events carry it."""
    return MessageBody(
        id=message.id,
        role=message.role,
        content=message.content,
        parent=message.parent_id,
        author=message.author,
        partial=message.partial,
    )


def recorded(row: Row) -> Recorded:
    """A stored row as an event with its place.

    A row that cannot be read (a newer version wrote it, or the file is damaged) is shown as a custom
    event that says so: one bad row must not hide the rest of a thread.
    """
    try:
        event = decode(row.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        log.exception("event %d of thread %s cannot be read", row.seq, row.thread_id)
        event = Custom(name=UNREADABLE, value={"type": row.type})
    return Recorded(
        thread_id=row.thread_id,
        seq=row.seq,
        run_id=row.run_id,
        attempt=row.attempt,
        at=row.at,
        event=event,
    )
