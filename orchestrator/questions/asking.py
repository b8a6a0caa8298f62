"""Who asks a human, and in which order tools may ask again.

LangGraph numbers the questions of a task by the order in which `interrupt()` is called, and hands
stored answers out by that number. Tools of one task run side by side: when the task is resumed,
whichever asks first takes the first answer. So the calls that asked before begin in the order in
which they asked, and each of them ends, or asks again, before any other call goes on.

A call is held only for one that is sure to come without it. That one has begun; or it was under way
beside it before; or it stands in the task's input, and did not begin after the held one's end. So code
that calls its tools one after the other is never held, nor is code that now calls others.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.messages import AIMessage
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from antiphon.orchestrator.errors import AnswerLost
from antiphon.orchestrator.events import ToolOrder

BEGIN_SECONDS = 60.0
"""How long a call is held for one that does not begin. It always does, unless the graph's code calls
other tools than it did before the question."""
CUT_OFF_SECONDS = 0.5
"""How long after a call was cancelled the others go on, unless their task is over by then."""


class _Place(NamedTuple):
    """Where a tool is called: `key` tells the calls of a task apart, and is the same if it is executed again."""

    task: str
    key: str
    call_id: str | None
    outer: _Call | None
    """The tool call that this one is made in."""


class _Call:
    """One tool call, while it lasts."""

    def __init__(self, place: _Place) -> None:
        self.place = place
        self.over: Future[GraphInterrupt | None] = Future()
        """Set when it has ended; to its question if it asks."""

    def within(self, other: _Call) -> bool:
        """Whether it is another call, or made in it."""
        outer = self.place.outer
        return self is other or (outer is not None and outer.within(other))

    def outermost(self) -> _Call:
        """The outermost call of the same task that it is made in."""
        outer = self.place.outer
        return outer.outermost() if outer is not None and outer.place.task == self.place.task else self


class Asking:
    """Watches one execution of a graph.

    `handlers` stand before all others in the graph's callbacks: a call that is held is not yet announced.
    """

    def __init__(self, order: Mapping[str, ToolOrder]) -> None:
        """`order` says in which order tool calls have asked in this run so far, by task."""
        self.handlers: list[BaseCallbackHandler] = [_Watch(self), _Hold(self)]
        self._before = order
        self._closed = False
        self._lock = threading.RLock()
        self._calls: dict[UUID, _Call] = {}
        self._inside: dict[UUID, _Call] = {}
        """The tool call that a runnable is part of."""
        self._begun: dict[tuple[str, str], Future[_Call]] = {}
        """Calls by task and key, once they begin."""
        self._loops: dict[UUID, asyncio.AbstractEventLoop | None] = {}
        self._nodes: dict[UUID, tuple[str, int]] = {}
        """Nodes under way: their tasks, and the order in which they began."""
        self._given: dict[str, set[str]] = {}
        """Tool calls that stand in a resumed task's input."""
        self._seen: dict[str, dict[str, bool]] = {}
        """Tool calls that have begun, by task and key, and whether they ended without a question."""
        self._count = 0
        self._ranks: dict[int, tuple[Interrupt, int]] = {}
        """The questions of this execution, each with the order in which its node began."""
        self._askers: dict[int, str | None] = {}
        """The ids of the tool calls through which they are asked, the innermost ones."""
        self._direct: dict[int, _Call] = {}
        """The tool calls that ask by themselves, and not by a node of a graph inside them."""

    # -- what became known ------------------------------------------------------------------------

    def rank(self, question: Interrupt) -> int:
        """The place of a question among the others: the order in which their nodes began."""
        return self._ranks.get(id(question), (question, self._count))[1]

    def call_id(self, question: Interrupt) -> str | None:
        """The tool call that asks a question, if one does."""
        return self._askers.get(id(question))

    def order(self, questions: Sequence[Interrupt]) -> list[ToolOrder]:
        """In which order tool calls have asked, of the tasks which ask these questions."""
        asking: dict[str, dict[str, None]] = {}
        for question in questions:
            if (call := self._direct.get(id(question))) is not None:
                asking.setdefault(call.place.task, {})[call.outermost().place.key] = None
        return [self._order_of(task, list(keys)) for task, keys in asking.items()]

    def _order_of(self, task: str, keys: list[str]) -> ToolOrder:
        before = self._before.get(task, ToolOrder(task=task))
        asked = list(dict.fromkeys([*before.asked, *keys]))
        seen = self._seen.get(task, {})
        ended = [key for key, has_ended in seen.items() if has_ended]
        beside = [key for key, has_ended in seen.items() if not has_ended and key not in asked]
        return ToolOrder(
            task=task,
            asked=asked,
            beside=list(dict.fromkeys([*before.beside, *beside])),
            ended=list(dict.fromkeys([*before.ended, *ended])),
        )

    def close(self) -> None:
        """The execution is over: what is still held never begins."""
        with self._lock:
            self._closed = True
        for task in {task for task, _ in self._begun}:
            self._forget(task)

    # -- what happens -----------------------------------------------------------------------------

    def chain_starts(self, inputs: Any, run_id: UUID, known: Mapping[str, Any]) -> None:
        """A runnable begins."""
        parent, metadata = known.get("parent_run_id"), known.get("metadata") or {}
        if parent is not None and (call := self._inside.get(parent)) is not None:
            self._inside[run_id] = call
        is_node = any(tag.startswith("graph:step:") for tag in known.get("tags") or ())
        if is_node and known.get("name") == metadata.get("langgraph_node"):
            self._count += 1
            self._nodes[run_id] = (task := _task(metadata), self._count)
            if task in self._before:
                self._given[task] = set(_tool_calls(inputs))

    def chain_ends(self, run_id: UUID, error: BaseException | None = None) -> None:
        """A runnable is over."""
        self._inside.pop(run_id, None)
        if (node := self._nodes.pop(run_id, None)) is not None:
            task, rank = node
            for question in _questions(error):  # the innermost node says so first
                self._ranks.setdefault(id(question), (question, rank))
            self._forget(task)

    def _forget(self, task: str) -> None:
        """A task is over: what it still holds never begins; its calls begin anew if it is tried again."""
        with self._lock:
            for place in [place for place in self._begun if place[0] == task]:
                self._begun.pop(place).cancel()
            for call in [call for call in self._calls.values() if call.place.task == task]:
                _settle(call.over, GraphInterrupt())

    def place(self, serialized: Any, input_text: str, known: Mapping[str, Any]) -> _Place:
        """Where a tool is called, from what its callback knows."""
        call_id = known.get("tool_call_id")
        name = known.get("name") or (serialized or {}).get("name")
        outer = self._inside.get(known["parent_run_id"]) if known.get("parent_run_id") else None
        key = str(call_id) if call_id is not None else f"{name} {input_text}"
        return _Place(_task(known.get("metadata") or {}), key, str(call_id) if call_id is not None else None, outer)

    def waits_for(self, place: _Place) -> Iterator[tuple[Future[Any], float | None]]:
        """What a call has to wait for before it begins, one after the other, and for how many seconds at most."""
        before = self._before.get(place.task, ToolOrder(task=place.task))
        for key in before.asked:
            if key == place.key:
                return
            begun = self._future(place.task, key)
            if not begun.done() and self._is_sure_to_come(key, place, before):
                yield begun, BEGIN_SECONDS
            if begun.done() and not (place.outer is not None and place.outer.within(begun.result())):
                yield begun.result().over, None

    def _is_sure_to_come(self, key: str, place: _Place, before: ToolOrder) -> bool:
        """Whether another call of a task will begin while this one is held."""
        if place.key in before.asked or place.key in before.beside:
            return True
        return key in self._given.get(place.task, ()) and place.key not in before.ended

    def begins(self, run_id: UUID, place: _Place) -> None:
        """A call is held no longer. Raises `GraphInterrupt` if the execution is over."""
        with self._lock:
            if self._closed:
                raise GraphInterrupt
            call = self._calls[run_id] = self._inside[run_id] = _Call(place)
            self._seen.setdefault(place.task, {})[place.key] = False
            _settle(self._future(place.task, place.key), call)

    def tool_ends(self, run_id: UUID, error: BaseException | None = None) -> None:
        """A tool call is over."""
        with self._lock:
            self._inside.pop(run_id, None)
            self._loops.pop(run_id, None)
            call = self._calls.pop(run_id, None)
            if call is not None:
                for question in _questions(error):
                    self._asks(call, question)
                self._seen[call.place.task][call.place.key] = not isinstance(error, GraphInterrupt)
                _settle(call.over, error if isinstance(error, GraphInterrupt) else None)

    def called_on(self, run_id: UUID) -> asyncio.AbstractEventLoop | None:
        """The event loop, if any, of the thread in which a tool was called first."""
        return self._loops.setdefault(run_id, _event_loop())

    def has_begun(self, run_id: UUID) -> bool:
        """Whether a tool call is under way."""
        return run_id in self._calls

    def _future(self, task: str, key: str) -> Future[_Call]:
        with self._lock:
            return self._begun.setdefault((task, key), Future())

    def _asks(self, call: _Call, question: Interrupt) -> None:
        """A tool call asks. What a node of a graph inside it asks has a number of its own there."""
        self._askers.setdefault(id(question), call.place.call_id)
        if id(question) not in self._ranks:
            ranks = (rank for task, rank in self._nodes.values() if task == call.place.task)
            self._ranks[id(question)] = (question, next(ranks, self._count))
            self._direct[id(question)] = call


class _Watch(BaseCallbackHandler):
    """Sees what begins and ends, in any thread. Holds a tool that runs in a thread of its own."""

    run_inline = True
    raise_error = True
    ignore_llm = ignore_chat_model = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **known: Any) -> None:
        """A runnable begins."""
        self._asking.chain_starts(inputs, run_id, known)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **known: Any) -> None:
        """A runnable is done."""
        self._asking.chain_ends(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **known: Any) -> None:
        """A runnable failed, or asks."""
        self._asking.chain_ends(run_id, error)

    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **known: Any) -> None:
        """A tool is called. Must not wait in a thread whose event loop it would stop: `_Hold` does that."""
        if self._asking.called_on(run_id) is None:
            place = self._asking.place(serialized, input_str, known)
            for awaited in self._asking.waits_for(place):
                _raise_question(_waited(*awaited))
            self._asking.begins(run_id, place)

    def on_tool_end(self, output: Any, *, run_id: UUID, **known: Any) -> None:
        """A tool answered."""
        self._asking.tool_ends(run_id)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **known: Any) -> None:
        """A tool failed, or asks."""
        self._asking.tool_ends(run_id, error)


class _Hold(AsyncCallbackHandler):
    """Holds a tool that runs on an event loop."""

    run_inline = True
    raise_error = True
    ignore_llm = ignore_chat_model = ignore_chain = ignore_retriever = ignore_retry = ignore_custom_event = True

    def __init__(self, asking: Asking) -> None:
        self._asking = asking

    async def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **known: Any) -> None:
        """A tool is called.

        One that a coroutine calls without waiting (`tool.invoke`) is not held: its event loop stands still until it
        ends. LangChain runs this in another thread then.
        """
        if self._asking.has_begun(run_id):
            return
        place = self._asking.place(serialized, input_str, known)
        if self._asking.called_on(run_id) is asyncio.get_running_loop():
            for awaited in self._asking.waits_for(place):
                _raise_question(await _awaited(*awaited))
            if (task := asyncio.current_task()) is not None:
                task.add_done_callback(lambda _: self._cut_off(run_id))
        self._asking.begins(run_id, place)

    def _cut_off(self, run_id: UUID) -> None:
        """A tool's coroutine is over. If it was cancelled, its node is as well, or else goes on without it."""
        if self._asking.has_begun(run_id):
            asyncio.get_running_loop().call_later(CUT_OFF_SECONDS, self._asking.tool_ends, run_id)


def _is_news(record: logging.LogRecord) -> bool:
    """Whether LangChain's warning about a callback is one: not if a held call was to raise its task's question."""
    names = (_Watch.__name__, _Hold.__name__)
    return not (isinstance(record.args, tuple) and record.args[0] in names and "GraphInterrupt" in record.getMessage())


logging.getLogger("langchain_core.callbacks.manager").addFilter(_is_news)


def _task(metadata: Mapping[str, Any]) -> str:
    return str(metadata.get("langgraph_checkpoint_ns", ""))


def _tool_calls(inputs: Any) -> Iterator[str]:
    """The ids of the tool calls in the messages of a node's input."""
    state = inputs if isinstance(inputs, dict) else getattr(inputs, "__dict__", {"messages": inputs})
    for part in state.values():
        for message in part if isinstance(part, list) else ():
            if isinstance(message, AIMessage):
                yield from (str(call["id"]) for call in message.tool_calls)


def _questions(error: BaseException | None) -> tuple[Interrupt, ...]:
    """The questions that an exception carries."""
    return tuple(error.args[0]) if isinstance(error, GraphInterrupt) and error.args else ()


def _event_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _settle(future: Future[Any], result: Any) -> None:
    """Set a future's result, if nothing has been set yet."""
    with suppress(InvalidStateError):
        future.set_result(result)


def _waited(future: Future[Any], seconds: float | None) -> Any:
    """Wait in a thread for a call to begin, or to be over. Raises `AnswerLost`, and `GraphInterrupt` if its task is."""
    try:
        return future.result(seconds)
    except CancelledError:
        raise GraphInterrupt from None
    except TimeoutError:
        raise AnswerLost from None


async def _awaited(future: Future[Any], seconds: float | None) -> Any:
    """`_waited` on an event loop."""
    loop, settled = asyncio.get_running_loop(), asyncio.Event()
    future.add_done_callback(lambda _: loop.call_soon_threadsafe(settled.set))
    try:
        async with asyncio.timeout(seconds):
            await settled.wait()
        return future.result()
    except CancelledError:
        raise GraphInterrupt from None
    except TimeoutError:
        raise AnswerLost from None


def _raise_question(result: Any) -> None:
    """Raise the question with which a call ended: the task asks, so nothing else begins in it."""
    if isinstance(result, GraphInterrupt):
        raise result
