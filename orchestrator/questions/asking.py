"""LangChain's callbacks, from which it is known who asks a human and in which order tools run.

There are two handlers, because a handler's coroutine cannot hold a tool in another thread, and a
thread must not wait if that would stop its event loop. `tool_turns.py` decides what waits for what.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.runnables import RunnableConfig
from langgraph.callbacks import GraphCallbackHandler, GraphResumeEvent
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from antiphon.orchestrator.errors import AnswerLost
from antiphon.orchestrator.events import ToolOrder
from antiphon.orchestrator.questions.tool_turns import Awaited, Place, ToolCall, ToolTurns

CUT_OFF_SECONDS = 0.5
"""How long other calls wait for one that was cancelled, unless their task is over by then."""


class Asking:
    """Watches the questions and tool calls of one execution of a graph.

    `handlers` come before all others in the graph's callbacks, so that a held call is not yet
    announced.
    """

    def __init__(self, order: Mapping[str, ToolOrder], record: Callable[[ToolOrder], None]) -> None:
        """`order` is that of the tools in this run so far, by task; `record` stores a new one."""
        self.handlers: list[BaseCallbackHandler] = [_SyncHandler(self), _AsyncHandler(self)]
        self.turns = ToolTurns(order, record)
        self._inside: dict[UUID, ToolCall] = {}
        """The tool call that a runnable is part of."""
        self._loops: dict[UUID, asyncio.AbstractEventLoop | None] = {}
        self._nodes: dict[UUID, tuple[str, int]] = {}
        """Nodes under way: their tasks, and their numbers in the order in which they began."""
        self._count = 0
        self._ranks: dict[int, tuple[Interrupt, int]] = {}
        """The questions of this execution, each with the number of its node."""
        self._askers: dict[int, str | None] = {}
        """The ids of the innermost tool calls that ask them."""
        self._direct: dict[int, ToolCall] = {}
        """The tool calls that ask themselves, and not through a node of a graph inside them."""

    # -- results ------------------------------------------------------------------------

    def rank(self, question: Interrupt) -> int:
        """Return the place of a question among the others: the order in which their nodes began."""
        return self._ranks.get(id(question), (question, self._count))[1]

    def call_id(self, question: Interrupt) -> str | None:
        """Return the id of the tool call that asks a question; None if none does."""
        return self._askers.get(id(question))

    def order(self, questions: Sequence[Interrupt]) -> list[ToolOrder]:
        """Return the order of tool calls, for each task that asks one of these questions."""
        asking: dict[str, dict[str, None]] = {}
        for question in questions:
            if (call := self._direct.get(id(question))) is not None:
                asking.setdefault(call.place.task, {})[call.outermost().place.key] = None
        return [self.turns.order(task, list(keys)) for task, keys in asking.items()]

    def close(self) -> None:
        """The execution is over: calls that are still held never begin."""
        self.turns.close()

    def reads(self, config: RunnableConfig) -> None:
        """A graph looks for its checkpoints. Only now is its number known."""
        reader = getattr(config.get("callbacks"), "parent_run_id", None)
        if reader is not None:
            self.turns.reads(reader, str(config["configurable"].get("checkpoint_ns", "")))

    # -- what happens -----------------------------------------------------------------------------

    def chain_starts(self, inputs: Any, run_id: UUID, kwargs: Mapping[str, Any]) -> None:
        """A runnable begins. Raises `GraphInterrupt` in a tool call whose task is over."""
        parent, task = kwargs.get("parent_run_id"), _task(kwargs.get("metadata") or {})
        self.go_on(parent)
        if parent is not None and (call := self._inside.get(parent)) is not None:
            self._inside[run_id] = call
            if task == call.place.task:
                self.turns.run_begins(run_id, call, str(kwargs.get("name")))
        if _is_node(kwargs):
            self._count += 1
            self._nodes[run_id] = (task, self._count)
            self.turns.task_begins(task, inputs)
            if parent is not None:
                self.turns.takes_number(parent, task)

    def go_on(self, parent: UUID | None) -> None:
        """Let something begin. Raises `GraphInterrupt` in a tool call whose task is over.

        A tool that asks does not stop those beside it: they would run on in vain, and again later.
        """
        call = self._inside.get(parent) if parent is not None else None
        if call is not None and self.turns.is_left(call):
            raise GraphInterrupt

    def chain_ends(self, run_id: UUID, error: BaseException | None = None) -> None:
        """A runnable is over."""
        self._inside.pop(run_id, None)
        self._loops.pop(run_id, None)
        self.turns.run_ends(run_id)
        if (node := self._nodes.pop(run_id, None)) is not None:
            task, rank = node
            for question in _questions(error):  # the innermost node reports it first
                self._ranks.setdefault(id(question), (question, rank))
            self.turns.task_ends(task, asks=isinstance(error, GraphInterrupt))

    def place(self, serialized: Any, input_text: str, kwargs: Mapping[str, Any]) -> Place:
        """Return where a tool is called, from the arguments of its callback."""
        call_id = kwargs.get("tool_call_id")
        name = kwargs.get("name") or (serialized or {}).get("name")
        self.go_on(kwargs.get("parent_run_id"))
        outer = self._inside.get(kwargs["parent_run_id"]) if kwargs.get("parent_run_id") else None
        key = str(call_id) if call_id is not None else f"{name} {input_text}"
        return Place(
            _task(kwargs.get("metadata") or {}),
            key,
            str(call_id) if call_id is not None else None,
            outer,
        )

    def tool_begins(self, run_id: UUID, place: Place) -> None:
        """A tool call begins, after it was held if need be."""
        self._inside[run_id] = self.turns.begins(run_id, place)

    def tool_ends(self, run_id: UUID, error: BaseException | None = None) -> None:
        """A tool call is over."""
        self._inside.pop(run_id, None)
        self._loops.pop(run_id, None)
        call = self.turns.ends(run_id, error)
        if call is not None:
            for question in _questions(error):
                self._asks(call, question)

    def _asks(self, call: ToolCall, question: Interrupt) -> None:
        self._askers.setdefault(id(question), call.place.call_id)
        if id(question) not in self._ranks:  # no node of a graph inside it asks
            ranks = (rank for task, rank in list(self._nodes.values()) if task == call.place.task)
            self._ranks[id(question)] = (question, next(ranks, self._count))
            self._direct[id(question)] = call

    def called_on(self, run_id: UUID) -> asyncio.AbstractEventLoop | None:
        """Return the event loop, if any, of the thread that called a tool or a runnable first."""
        return self._loops.setdefault(run_id, _event_loop())


class _SyncHandler(GraphCallbackHandler):
    """Reports what begins and ends, in any thread. Holds what runs in a thread of its own."""

    run_inline = True
    raise_error = True
    ignore_llm = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A model is called."""
        self._asking.go_on(kwargs.get("parent_run_id"))

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable begins."""
        self._asking.chain_starts(inputs, run_id, kwargs)
        if self._asking.turns.may_hold(run_id) and self._asking.called_on(run_id) is None:
            _wait_for(self._asking.turns.run_waits_for(run_id))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable is done."""
        self._asking.chain_ends(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A runnable failed, or asks."""
        self._asking.chain_ends(run_id, error)

    def on_resume(self, event: GraphResumeEvent) -> None:
        """A graph goes on from a checkpoint."""
        if event.run_id is not None:
            self._asking.turns.takes_number(event.run_id, "|".join(event.checkpoint_ns))

    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A tool is called. If the thread has an event loop, `_AsyncHandler` holds it instead."""
        if self._asking.called_on(run_id) is None:
            place = self._asking.place(serialized, input_str, kwargs)
            _wait_for(self._asking.turns.waits_for(place))
            self._asking.tool_begins(run_id, place)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool answered."""
        self._asking.tool_ends(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """A tool failed, or asks."""
        self._asking.tool_ends(run_id, error)


class _AsyncHandler(AsyncCallbackHandler):
    """Holds what runs on an event loop.

    A tool or a graph that a coroutine calls without `await` (`invoke`) is not held, because it
    blocks its event loop until it ends. LangChain then runs these coroutines in another thread.
    """

    run_inline = True
    raise_error = True
    ignore_llm = ignore_chat_model = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A runnable begins."""
        may_hold = self._asking.turns.may_hold(run_id)
        if may_hold and self._asking.called_on(run_id) is asyncio.get_running_loop():
            await _wait_on_loop(self._asking.turns.run_waits_for(run_id))

    async def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, **kwargs: Any
    ) -> None:
        """A tool is called."""
        if self._asking.turns.has_begun(run_id):
            return
        place = self._asking.place(serialized, input_str, kwargs)
        if self._asking.called_on(run_id) is asyncio.get_running_loop():
            await _wait_on_loop(self._asking.turns.waits_for(place))
            if (task := asyncio.current_task()) is not None:
                task.add_done_callback(lambda _: self._cut_off(run_id))
        self._asking.tool_begins(run_id, place)

    def _cut_off(self, run_id: UUID) -> None:
        """A tool's coroutine is over. If it was cancelled, its node is too, or goes on alone."""
        if self._asking.turns.has_begun(run_id):
            asyncio.get_running_loop().call_later(CUT_OFF_SECONDS, self._asking.tool_ends, run_id)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether to log LangChain's warning about a callback: not if a held call raised on purpose."""
    names = (_SyncHandler.__name__, _AsyncHandler.__name__)
    is_ours = isinstance(record.args, tuple) and record.args[0] in names
    return not (is_ours and "GraphInterrupt" in record.getMessage())


logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_news)


def _task(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("langgraph_checkpoint_ns", ""))


def _is_node(kwargs: Mapping[str, Any]) -> bool:
    """Whether a runnable is a graph's node, and not something inside one."""
    is_step = any(tag.startswith("graph:step:") for tag in kwargs.get("tags") or ())
    return is_step and kwargs.get("name") == (kwargs.get("metadata") or {}).get("langgraph_node")


def _questions(error: BaseException | None) -> tuple[Interrupt, ...]:
    """Return the questions that an exception carries."""
    return tuple(error.args[0]) if isinstance(error, GraphInterrupt) and error.args else ()


def _event_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _wait_for(all_awaited: Iterable[Awaited]) -> None:
    """Wait in a thread for one future after the other.

    Raises the question with which a call ends, because nothing else begins in a task that asks.
    Raises `AnswerLost` if a call does not begin in time.
    """
    for future, seconds in all_awaited:
        try:
            _raise_question(future.result(seconds))
        except CancelledError:
            raise GraphInterrupt from None
        except TimeoutError:
            raise AnswerLost from None


async def _wait_on_loop(all_awaited: Iterable[Awaited]) -> None:
    """Wait like `_wait_for`, without blocking the event loop."""
    loop = asyncio.get_running_loop()
    for future, seconds in all_awaited:
        settled = asyncio.Event()
        future.add_done_callback(partial(_wake, loop, settled))
        try:
            async with asyncio.timeout(seconds):
                await settled.wait()
        except TimeoutError:
            raise AnswerLost from None
        _wait_for([(future, 0)])


def _wake(loop: asyncio.AbstractEventLoop, settled: asyncio.Event, _: Future[Any]) -> None:
    with suppress(RuntimeError):  # the loop may have ended
        loop.call_soon_threadsafe(settled.set)


def _raise_question(result: Any) -> None:
    if isinstance(result, GraphInterrupt):
        raise result
