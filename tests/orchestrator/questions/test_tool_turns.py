"""The order of tool calls in a task: who waits for whom, and what is recorded."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from langchain_core.messages import AIMessage
from langgraph.errors import GraphInterrupt
from langgraph.types import Interrupt

from antiphon.orchestrator.events import ToolGraph, ToolOrder
from antiphon.orchestrator.questions.tool_turns import Place, ToolCall, ToolTurns

TASK = "tools:1"


class Turns(ToolTurns):
    """The turns of one task, by the calls' keys."""

    def __init__(self, before: ToolOrder | None = None, given: str = "") -> None:
        self.recorded: list[ToolOrder] = []
        super().__init__({before.task: before} if before else {}, self.recorded.append)
        self._ids: dict[str, UUID] = {}
        calls = [{"name": "t", "args": {}, "id": key} for key in given]
        self.task_begins(TASK, {"messages": [AIMessage("", tool_calls=calls)]})

    def id(self, key: str) -> UUID:
        return self._ids.setdefault(key, uuid4())

    def begin(self, *keys: str, outer: ToolCall | None = None) -> ToolCall:
        """Calls begin; returns the last one."""
        return [self.begins(self.id(key), Place(TASK, key, key, outer)) for key in keys][-1]

    def end(self, key: str, asks: bool = False) -> None:
        self.ends(self.id(key), GraphInterrupt((Interrupt("?"),)) if asks else None)

    def holds(self, key: str, outer: ToolCall | None = None) -> bool:
        """Whether a call would have to wait now."""
        return any(not future.done() for future, _ in self.waits_for(Place(TASK, key, key, outer)))

    def run(self, key: str, name: str = "graph") -> UUID:
        """A call runs something."""
        run_id = uuid4()
        self.run_begins(run_id, self._calls[self.id(key)], name)
        return run_id

    def holds_run(self, run_id: UUID) -> bool:
        return any(not future.done() for future, _ in self.run_waits_for(run_id))


def order(asked: str = "", beside: str = "", ended: str = "", graphs: str = "") -> ToolOrder:
    named = [ToolGraph(call=key, name="graph") for key in graphs]
    return ToolOrder(
        task=TASK, asked=list(asked), beside=list(beside), ended=list(ended), graphs=named
    )


# -- calls -----------------------------------------------------------------------------------------


def test_nothing_is_held_the_first_time() -> None:
    turns = Turns(given="ab")
    assert not turns.holds("a")
    turns.begin("a")
    assert not turns.holds("b")


def test_those_that_asked_come_first_one_after_the_other() -> None:
    turns = Turns(order("ab", "c"), given="abc")
    assert (turns.holds("a"), turns.holds("b"), turns.holds("c")) == (False, True, True)
    turns.begin("a")
    assert (turns.holds("b"), turns.holds("c")) == (True, True)
    turns.end("a")
    assert (turns.holds("b"), turns.holds("c")) == (False, True)
    turns.begin("b")
    turns.end("b")
    assert not turns.holds("c")


@pytest.mark.parametrize(
    ("before", "given", "held"),
    [
        (order("a", "c"), "", True),  # it was under way beside the one that asked
        (order("a"), "ac", True),  # the other one stands in the input, and will be called again
        (order("a"), "", False),  # nothing says so
        (order("a", ended="c"), "ac", False),  # it ended before the other one began, perhaps
    ],
)
def test_a_call_waits_for_one_that_is_sure_to_come(
    before: ToolOrder, given: str, held: bool
) -> None:
    turns = Turns(before, given)
    assert turns.holds("c") is held
    turns.begin("a")
    assert turns.holds("c"), "it has come"
    turns.end("a")
    assert not turns.holds("c")


def test_a_call_inside_another_does_not_wait_for_it() -> None:
    turns = Turns(order("a"))
    outer = turns.begin("a")
    assert not turns.holds("inner", outer)


def test_a_call_that_asks_again_lets_nothing_else_begin() -> None:
    turns = Turns(order("a", "b"))
    turns.begin("a")
    [(over, _)] = turns.waits_for(Place(TASK, "b", "b", None))
    turns.end("a", asks=True)
    assert isinstance(over.result(0), GraphInterrupt)
    turns.task_ends(TASK, asks=True)
    with pytest.raises(GraphInterrupt):
        turns.begin("b")
    turns.task_begins(TASK, {})
    turns.begin("b")


def test_what_is_held_when_the_task_or_the_execution_ends_is_let_go() -> None:
    for end in (lambda turns: turns.task_ends(TASK), ToolTurns.close):
        turns = Turns(order("ab", "c"), given="abc")
        turns.begin("a")
        waited = [next(turns.waits_for(Place(TASK, key, key, None)))[0] for key in "bc"]
        begins, _ = list(turns.waits_for(Place(TASK, "c", "c", None)))[-1]
        end(turns)
        assert all(future.done() for future in [*waited, begins])
    with pytest.raises(GraphInterrupt):
        turns.begin("d")


def test_the_order_adds_up() -> None:
    turns = Turns(order("a", "bc", ended="d"))
    turns.begin("a", "b", "c")
    turns.end("a")
    turns.end("b", asks=True)
    assert turns.order(TASK, ["b"]) == order("ab", "bc", "da")


# -- graphs that calls run -------------------------------------------------------------------------


def test_the_numbers_of_graphs_are_recorded_when_they_are_taken() -> None:
    turns = Turns()
    turns.begin("a", "b")
    one, two = turns.run("a"), turns.run("b")
    turns.takes_number(two, f"{TASK}|node:1")
    turns.takes_number(one, f"{TASK}|1|node:2")
    turns.reads(turns.id("a"), f"{TASK}|1")
    assert [recorded.graphs for recorded in turns.recorded] == [
        order(graphs=graphs).graphs for graphs in ("b", "ba")
    ]


def test_one_call_alone_is_not_worth_recording() -> None:
    turns = Turns()
    turns.begin("a")
    turns.takes_number(turns.run("a"), f"{TASK}|node:1")
    assert turns.recorded == []
    turns.begin("b")
    assert [recorded.graphs for recorded in turns.recorded] == [order(graphs="a").graphs]


def test_graphs_begin_in_the_order_of_their_numbers() -> None:
    turns = Turns(order(graphs="ba", beside="ab"), given="ab")
    turns.begin("a", "b")
    one, two = turns.run("a"), turns.run("b")
    assert (turns.holds_run(one), turns.holds_run(two)) == (True, False)
    turns.reads(turns.id("b"), TASK)
    assert not any(not future.done() for future, _ in turns.run_waits_for(one))


def test_a_graph_waits_no_longer_for_a_call_that_ended_without_one() -> None:
    turns = Turns(order(graphs="ba", beside="ab"))
    turns.begin("a", "b")
    waited = [future for future, _ in turns.run_waits_for(turns.run("a"))]
    turns.end("b")
    assert all(future.done() for future in waited)


def test_a_new_graph_waits_for_all_that_had_numbers() -> None:
    turns = Turns(order(graphs="b", beside="abc", ended="c"), given="abc")
    turns.begin("a", "b", "c")
    assert turns.holds_run(turns.run("a"))
    assert not turns.holds_run(turns.run("c")), "it ended without one"
    assert not turns.holds_run(turns.run("b", "chain")), "it has another name than the call's graph"
