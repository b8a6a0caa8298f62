"""Keeps the order of a task's tool calls when the task is executed again.

LangGraph numbers what the tools of a task do, in the order in which it happens: the questions that
they ask by `interrupt()`, and the graphs that they run. It finds stored answers and checkpoints by
these numbers. Tools run side by side, so after the task is resumed, the first one to come could get
what belongs to another. Two rules prevent that:

- The calls that asked before begin in the order in which they asked, and each of them ends, or asks
  again, before any other call goes on.
- A graph that a call runs begins once the graphs that began before it have begun.

A call is held only for another one that is sure to come without it: one that has begun, or that ran
beside it before, or that is in the task's input while the held one had not ended before. So code
that calls its tools one after the other is never held, nor is code that now calls other tools.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from typing import Any, NamedTuple
from uuid import UUID

from langchain_core.messages import AIMessage
from langgraph.errors import GraphInterrupt

from antiphon.orchestrator.events import ToolGraph, ToolOrder

BEGIN_SECONDS = 60.0
"""How long a call is held for one that does not begin. It always does, unless the graph's code
calls other tools than it did before."""

Awaited = tuple[Future[Any], float | None]
"""A future to wait for, and the most seconds to wait; None is no limit."""
UNKNOWN = ToolGraph(call="", name="")


class Place(NamedTuple):
    """Where a tool is called. `key` identifies a call in its task, also if it is executed again."""

    task: str
    key: str
    call_id: str | None
    outer: ToolCall | None
    """The tool call that makes this one, if one does."""


class ToolCall:
    """One tool call, while it lasts."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.over: Future[GraphInterrupt | None] = Future()
        """Set after the call has ended: to its question if it asks, else to None."""

    def within(self, other: ToolCall) -> bool:
        """Return whether this is the other call, or made in it."""
        outer = self.place.outer
        return self is other or (outer is not None and outer.within(other))

    def outermost(self) -> ToolCall:
        """Return the outermost call of the same task that this one is made in; itself if none."""
        outer = self.place.outer
        if outer is None or outer.place.task != self.place.task:
            return self
        return outer.outermost()


class ToolTurns:
    """Orders the tool calls of one execution of a graph. Safe to use from any thread."""

    def __init__(
        self, before: Mapping[str, ToolOrder], record: Callable[[ToolOrder], None]
    ) -> None:
        """`before` is the order so far, by task; `record` stores it after a graph has begun."""
        self._before = dict(before)
        self._record = record
        self._closed = False
        self._asking: set[str] = set()
        """Tasks that ended with a question."""
        self._lock = threading.RLock()
        self._calls: dict[UUID, ToolCall] = {}
        self._begun: dict[tuple[str, str], Future[ToolCall]] = {}
        """Calls by task and key, set when they begin."""
        self._seen: dict[str, dict[str, bool]] = {}
        """Whether calls that have begun ended without a question, by task and key."""
        self._in_input: dict[str, set[str]] = {}
        """Ids of the tool calls in the input of resumed tasks."""
        self._runs: dict[UUID, tuple[ToolCall, ToolGraph]] = {}
        """Runnables that calls run, some of which are graphs."""
        self._labels: dict[str, Counter[ToolGraph]] = {}
        """The number of runnables with a label that have begun, by task."""
        self._graphs: dict[str, dict[int, ToolGraph]] = {}
        """Graphs by task and number."""
        self._recorded: dict[str, list[ToolGraph]] = {
            task: order.graphs for task, order in before.items()
        }
        self._numbered: dict[tuple[str, int], Future[None]] = {}

    # -- tasks ------------------------------------------------------------------------------------

    def task_begins(self, task: str, inputs: Any) -> None:
        """A node begins."""
        self._asking.discard(task)
        self._labels.pop(task, None)
        if task in self._before:
            self._in_input[task] = set(_tool_calls(inputs))

    def task_ends(self, task: str, asks: bool = False) -> None:
        """A node is over: calls that are still held never begin.

        If the node asks, nothing else begins in its task, which will be executed again. Otherwise
        calls may begin anew.
        """
        with self._lock:
            if asks:
                self._asking.add(task)
            for place in [place for place in self._begun if place[0] == task]:
                self._begun.pop(place).cancel()
            for number in [number for number in self._numbered if number[0] == task]:
                self._numbered.pop(number).cancel()
            for call in [call for call in self._calls.values() if call.place.task == task]:
                _settle(call.over, GraphInterrupt())

    def close(self) -> None:
        """The execution is over: calls that are still held never begin."""
        with self._lock:
            self._closed = True
            for task in {task for task, _ in self._begun}:
                self.task_ends(task)

    # -- calls ------------------------------------------------------------------------------------

    def waits_for(self, place: Place) -> Iterator[Awaited]:
        """Yield what a call has to wait for before it begins, one after the other."""
        before = self._order_before(place.task)
        for key in before.asked:
            if key == place.key:
                return
            begun = self._future(place.task, key)
            if not begun.done() and self._is_sure_to_come(key, place.key, before):
                yield begun, BEGIN_SECONDS
            if begun.done():
                other = begun.result()
                is_inside = place.outer is not None and place.outer.within(other)
                if not is_inside:
                    yield other.over, None

    def begins(self, run_id: UUID, place: Place) -> ToolCall:
        """Begin a call. Raises `GraphInterrupt` if its task asks or the execution is over."""
        with self._lock:
            if self._closed or place.task in self._asking:
                raise GraphInterrupt
            call = self._calls[run_id] = ToolCall(place)
            self._seen.setdefault(place.task, {})[place.key] = False
            _settle(self._future(place.task, place.key), call)
            if place.task in self._graphs:
                self._keep(place.task)
            return call

    def has_begun(self, run_id: UUID) -> bool:
        """Return whether a call is under way."""
        return run_id in self._calls

    def is_left(self, call: ToolCall) -> bool:
        """Return whether a call goes on after its task, or one around it, has asked and ended."""
        if self._closed or call.place.task in self._asking:
            return True
        outer = call.place.outer
        return outer is not None and self.is_left(outer)

    def ends(self, run_id: UUID, error: BaseException | None) -> ToolCall | None:
        """End a call and return it; None if it had not begun."""
        with self._lock:
            call = self._calls.pop(run_id, None)
            if call is None:
                return None
            task, key = call.place.task, call.place.key
            self._seen[task][key] = not isinstance(error, GraphInterrupt)
            for number, graph in enumerate(self._order_before(task).graphs):
                if graph.call == key:  # it runs no more graphs
                    _settle(self._number(task, number), None)
            _settle(call.over, error if isinstance(error, GraphInterrupt) else None)
            return call

    def order(self, task: str, asking: Sequence[str]) -> ToolOrder:
        """Return the order in a task in which the calls with the keys `asking` ask now."""
        before, seen = self._order_before(task), self._seen.get(task, {})
        asked = _united(before.asked, asking)
        ended = [key for key, has_ended in seen.items() if has_ended]
        under_way = [key for key in seen if key not in ended and key not in asked]
        return ToolOrder(
            task=task,
            asked=asked,
            beside=_united(before.beside, under_way),
            ended=_united(before.ended, ended),
            graphs=self._numbers(task),
        )

    # -- graphs that calls run --------------------------------------------------------------------

    def run_begins(self, run_id: UUID, call: ToolCall, name: str) -> None:
        """A call runs a runnable, which may be a graph."""
        with self._lock:
            self._runs[run_id] = (call, ToolGraph(call=call.place.key, name=name))

    def may_hold(self, run_id: UUID) -> bool:
        """Return whether a runnable may have to wait, so that `run_waits_for` must be asked."""
        call, _ = self._runs.get(run_id, (None, UNKNOWN))
        return call is not None and call.place.task in self._before

    def run_waits_for(self, run_id: UUID) -> Iterator[Awaited]:
        """Yield what a runnable, which may be a graph, has to wait for before it begins."""
        call, label = self._runs[run_id]
        task, key = call.place.task, call.place.key
        before = self._order_before(task)
        for number in range(self._number_of(label, before)):
            other = before.graphs[number].call
            if other not in ("", key):
                begun = self._future(task, other)
                if not begun.done() and self._is_sure_to_come(other, key, before):
                    yield begun, BEGIN_SECONDS
                if begun.done():
                    yield self._number(task, number), None

    def _number_of(self, label: ToolGraph, before: ToolOrder) -> int:
        """Return the number that a runnable had, if it is a graph; a new graph's is above all
        others.

        A runnable with another name than the graphs of its call is not a graph and need not wait,
        nor does one of a call that had ended without running a graph. Their number is 0.
        """
        with self._lock:
            labels = self._labels.setdefault(before.task, Counter())
            count = labels[label]
            labels[label] += 1
        numbers = [number for number, graph in enumerate(before.graphs) if graph == label]
        if count < len(numbers):
            return numbers[count]
        runs_others = any(graph.call == label.call for graph in before.graphs)
        is_no_graph = not numbers and (runs_others or label.call in before.ended)
        return 0 if is_no_graph else len(before.graphs)

    def takes_number(self, run_id: UUID, namespace: str) -> None:
        """A runnable turns out to be a graph: `namespace` is its own, or that of a node in it."""
        with self._lock:
            call, label = self._runs.get(run_id, (None, UNKNOWN))
            if call is not None:
                self._takes_number(call, label, namespace)

    def reads(self, run_id: UUID, namespace: str) -> None:
        """A graph in a call looks for its checkpoints: it is the one that the call began last."""
        with self._lock:
            call = self._calls.get(run_id)
            labels = [label for its_call, label in self._runs.values() if its_call is call]
            if call is not None and labels:
                self._takes_number(call, labels[-1], namespace)

    def _takes_number(self, call: ToolCall, label: ToolGraph, namespace: str) -> None:
        task = call.place.task
        if f"{namespace}|".startswith(f"{task}|"):
            first = namespace[len(task) + 1 :].partition("|")[0]
            number = int(first) if first.isdigit() else 0
            self._graphs.setdefault(task, {})[number] = label
            _settle(self._number(task, number), None)
            self._keep(task)

    def run_ends(self, run_id: UUID) -> None:
        """A runnable is over."""
        with self._lock:
            self._runs.pop(run_id, None)

    def _keep(self, task: str) -> None:
        """Record the order of graphs, if there are several calls that may run one."""
        if len(self._seen[task]) > 1 and self._numbers(task) != self._recorded.get(task):
            self._recorded[task] = self._numbers(task)
            self._record(self.order(task, []))

    # -- what both rules need ---------------------------------------------------------------------

    def _order_before(self, task: str) -> ToolOrder:
        return self._before.get(task) or ToolOrder(task=task)

    def _is_sure_to_come(self, key: str, held: str, before: ToolOrder) -> bool:
        """Whether a call will begin while another one of its task, `held`, waits for it."""
        if held in before.asked or held in before.beside:
            return True
        return key in self._in_input.get(before.task, ()) and held not in before.ended

    def _future(self, task: str, key: str) -> Future[ToolCall]:
        with self._lock:
            return self._begun.setdefault((task, key), Future())

    def _number(self, task: str, number: int) -> Future[None]:
        with self._lock:
            return self._numbered.setdefault((task, number), Future())

    def _numbers(self, task: str) -> list[ToolGraph]:
        """Return a task's graphs in the order of their numbers."""
        numbers = dict(enumerate(self._order_before(task).graphs)) | self._graphs.get(task, {})
        return [numbers.get(number, UNKNOWN) for number in range(max(numbers, default=-1) + 1)]


def _settle(future: Future[Any], result: Any) -> None:
    """Set a future's result, if nothing has been set yet."""
    with suppress(InvalidStateError):
        future.set_result(result)


def _united(first: Sequence[str], more: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*first, *more]))


def _tool_calls(inputs: Any) -> Iterator[str]:
    """Yield the ids of the tool calls in the messages of a node's input."""
    state = (
        inputs if isinstance(inputs, dict) else getattr(inputs, "__dict__", {"messages": inputs})
    )
    for part in state.values():
        for message in part if isinstance(part, list) else ():
            if isinstance(message, AIMessage):
                yield from (str(call["id"]) for call in message.tool_calls)
