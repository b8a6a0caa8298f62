"""In which order the tools of a task take their turns when the task is executed again.

LangGraph numbers what the tools of a task do, in the order in which it happens: the questions that
they ask by `interrupt()`, and the graphs that they run. It hands stored answers and checkpoints out
by these numbers. Tools run side by side; so when the task is resumed, whichever comes first would
take what belongs to another. Two rules prevent that:

- The calls that asked before begin in the order in which they asked, and each of them ends, or asks
  again, before any other call goes on.
- A graph that a call runs begins once the graphs that began before it have begun.

A call is held only for one that is sure to come without it. That one has begun; or it was under way
beside it before; or it stands in the task's input, and the held one had not ended before it. So code
that calls its tools one after the other is never held, nor is code that now calls others.
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
"""How long a call is held for one that does not begin. It always does, unless the graph's code calls
other tools than it did before."""

Awaited = tuple[Future[Any], float | None]
"""What has to be waited for, and for how many seconds at most."""
UNKNOWN = ToolGraph(call="", name="")


class Place(NamedTuple):
    """Where a tool is called. `key` tells the calls of a task apart, also if it is executed again."""

    task: str
    key: str
    call_id: str | None
    outer: ToolCall | None
    """The tool call that this one is made in."""


class ToolCall:
    """One tool call, while it lasts."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.over: Future[GraphInterrupt | None] = Future()
        """Set when it has ended; to its question if it asks."""

    def within(self, other: ToolCall) -> bool:
        """Whether it is another call, or made in it."""
        outer = self.place.outer
        return self is other or (outer is not None and outer.within(other))

    def outermost(self) -> ToolCall:
        """The outermost call of the same task that it is made in."""
        outer = self.place.outer
        return (
            outer.outermost() if outer is not None and outer.place.task == self.place.task else self
        )


class ToolTurns:
    """The tool calls of one execution of a graph. May be used from any thread."""

    def __init__(
        self, before: Mapping[str, ToolOrder], record: Callable[[ToolOrder], None]
    ) -> None:
        """`before` is the order so far, by task; `record` keeps it when a graph has begun."""
        self._before = dict(before)
        self._record = record
        self._closed = False
        self._asking: set[str] = set()
        """Tasks that are over because they ask."""
        self._lock = threading.RLock()
        self._calls: dict[UUID, ToolCall] = {}
        self._begun: dict[tuple[str, str], Future[ToolCall]] = {}
        """Calls by task and key, once they begin."""
        self._seen: dict[str, dict[str, bool]] = {}
        """Calls that have begun, by task and key, and whether they ended without a question."""
        self._given: dict[str, set[str]] = {}
        """Tool calls that stand in a resumed task's input."""
        self._runs: dict[UUID, tuple[ToolCall, ToolGraph]] = {}
        """Runnables that calls run themselves, some of which are graphs."""
        self._labels: dict[str, Counter[ToolGraph]] = {}
        """How many runnables of a label have begun, by task."""
        self._graphs: dict[str, dict[int, ToolGraph]] = {}
        """Graphs by task and number."""
        self._recorded: dict[str, list[ToolGraph]] = {
            task: order.graphs for task, order in before.items()
        }
        self._numbered: dict[tuple[str, int], Future[None]] = {}

    # -- tasks ------------------------------------------------------------------------------------------------------

    def task_begins(self, task: str, inputs: Any) -> None:
        """A node begins."""
        self._asking.discard(task)
        self._labels.pop(task, None)
        if task in self._before:
            self._given[task] = set(_tool_calls(inputs))

    def task_ends(self, task: str, asks: bool = False) -> None:
        """A node is over: what its task still holds never begins.

        If it asks, nothing else begins in its task, which will be executed again; else calls may begin anew.
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
        """The execution is over: what is still held never begins."""
        with self._lock:
            self._closed = True
            for task in {task for task, _ in self._begun}:
                self.task_ends(task)

    # -- calls ------------------------------------------------------------------------------------------------------

    def waits_for(self, place: Place) -> Iterator[Awaited]:
        """What a call has to wait for before it begins, one after the other."""
        before = self._order_before(place.task)
        for key in before.asked:
            if key == place.key:
                return
            begun = self._future(place.task, key)
            if not begun.done() and self._is_sure_to_come(key, place.key, before):
                yield begun, BEGIN_SECONDS
            if begun.done() and not (
                place.outer is not None and place.outer.within(begun.result())
            ):
                yield begun.result().over, None

    def begins(self, run_id: UUID, place: Place) -> ToolCall:
        """A call is held no longer. Raises `GraphInterrupt` if its task or the execution is over."""
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
        """Whether a call is under way."""
        return run_id in self._calls

    def is_left(self, call: ToolCall) -> bool:
        """Whether a call goes on although its task, or one around it, is over because it asks."""
        outer = call.place.outer
        return (
            self._closed
            or call.place.task in self._asking
            or (outer is not None and self.is_left(outer))
        )

    def ends(self, run_id: UUID, error: BaseException | None) -> ToolCall | None:
        """A call is over."""
        with self._lock:
            call = self._calls.pop(run_id, None)
            if call is not None:
                task, key = call.place.task, call.place.key
                self._seen[task][key] = not isinstance(error, GraphInterrupt)
                for number, graph in enumerate(self._order_before(task).graphs):
                    if graph.call == key:  # it runs no more graphs
                        _settle(self._number(task, number), None)
                _settle(call.over, error if isinstance(error, GraphInterrupt) else None)
            return call

    def order(self, task: str, asking: Sequence[str]) -> ToolOrder:
        """The order in a task, in which these calls ask now."""
        before, seen = self._order_before(task), self._seen.get(task, {})
        asked = _united(before.asked, asking)
        return ToolOrder(
            task=task,
            asked=asked,
            beside=_united(
                before.beside,
                [key for key, ended in seen.items() if not ended and key not in asked],
            ),
            ended=_united(before.ended, [key for key, ended in seen.items() if ended]),
            graphs=self._numbers(task),
        )

    # -- graphs that calls run --------------------------------------------------------------------------------------

    def run_begins(self, run_id: UUID, call: ToolCall, name: str) -> None:
        """A call runs a runnable, which may be a graph."""
        with self._lock:
            self._runs[run_id] = (call, ToolGraph(call=call.place.key, name=name))

    def may_hold(self, run_id: UUID) -> bool:
        """Whether `run_waits_for` has something to say about a runnable."""
        call, _ = self._runs.get(run_id, (None, UNKNOWN))
        return call is not None and call.place.task in self._before

    def run_waits_for(self, run_id: UUID) -> Iterator[Awaited]:
        """What a runnable has to wait for before it begins, since it may be a graph."""
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
        """The number that a runnable had, if it is a graph; that of a new graph is above all others.

        A runnable with another name than the graphs of its call is none, and need not wait; nor need those of a call
        that ended without running one.
        """
        with self._lock:
            labels = self._labels.setdefault(before.task, Counter())
            count = labels[label]
            labels[label] += 1
        numbers = [number for number, known in enumerate(before.graphs) if known == label]
        if count < len(numbers):
            return numbers[count]
        runs_others = any(known.call == label.call for known in before.graphs)
        is_none = not numbers and (runs_others or label.call in before.ended)
        return 0 if is_none else len(before.graphs)

    def takes_number(self, run_id: UUID, namespace: str) -> None:
        """A runnable turns out to be a graph: `namespace` is its own, or that of a node in it."""
        with self._lock:
            call, label = self._runs.get(run_id, (None, UNKNOWN))
            if call is not None:
                self._takes_number(call, label, namespace)

    def reads(self, run_id: UUID, namespace: str) -> None:
        """A graph in a call looks for its checkpoints: the one which that call began last."""
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

    # -- what both rules need ---------------------------------------------------------------------------------------

    def _order_before(self, task: str) -> ToolOrder:
        return self._before.get(task) or ToolOrder(task=task)

    def _is_sure_to_come(self, key: str, held: str, before: ToolOrder) -> bool:
        """Whether a call will begin while another one of its task is held."""
        if held in before.asked or held in before.beside:
            return True
        return key in self._given.get(before.task, ()) and held not in before.ended

    def _future(self, task: str, key: str) -> Future[ToolCall]:
        with self._lock:
            return self._begun.setdefault((task, key), Future())

    def _number(self, task: str, number: int) -> Future[None]:
        with self._lock:
            return self._numbered.setdefault((task, number), Future())

    def _numbers(self, task: str) -> list[ToolGraph]:
        """Graphs in the order of their numbers."""
        numbers = dict(enumerate(self._order_before(task).graphs)) | self._graphs.get(task, {})
        return [numbers.get(number, UNKNOWN) for number in range(max(numbers, default=-1) + 1)]


def _settle(future: Future[Any], result: Any) -> None:
    """Set a future's result, if nothing has been set yet."""
    with suppress(InvalidStateError):
        future.set_result(result)


def _united(first: Sequence[str], more: Sequence[str]) -> list[str]:
    return list(dict.fromkeys([*first, *more]))


def _tool_calls(inputs: Any) -> Iterator[str]:
    """The ids of the tool calls in the messages of a node's input."""
    state = (
        inputs if isinstance(inputs, dict) else getattr(inputs, "__dict__", {"messages": inputs})
    )
    for part in state.values():
        for message in part if isinstance(part, list) else ():
            if isinstance(message, AIMessage):
                yield from (str(call["id"]) for call in message.tool_calls)
