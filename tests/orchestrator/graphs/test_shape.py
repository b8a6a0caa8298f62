"""Which nodes of a graph lead where, may fail, are tried again."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import after_agent, after_model, before_model
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, RetryPolicy

from antiphon.orchestrator.graphs.shape import shape_of
from antiphon.orchestrator.team.offline import OfflineModel
from tests.orchestrator.support import chain, saying


async def nothing(state: MessagesState) -> dict[str, Any]:
    return {}


def test_a_node_before_another_one_passes_on() -> None:
    shape = shape_of(chain(a=nothing, b=nothing))
    assert (shape.passing, shape.edgeless) == ({"a"}, {"b"})
    assert (shape.passes("a"), shape.passes("b"), shape.passes("unknown")) == (True, False, False)


def test_a_node_that_may_be_the_last_does_not_pass_on() -> None:
    graph = (
        StateGraph(MessagesState).add_node("a", nothing).add_node("b", nothing).add_edge(START, "a")
    )
    graph.add_conditional_edges("a", lambda state: END, [END, "b"])
    graph.add_edge("b", END)
    shape = shape_of(graph.compile())
    assert shape.passing == frozenset()
    assert shape.leads == {"a": {"b", END}, "b": {END}}


def test_what_stands_in_a_subgraph_before_others_passes_on() -> None:
    inner = chain("inner", x=nothing, y=nothing)
    shape = shape_of(chain(a=inner, b=inner))
    assert shape.passing == {"a", "a:x", "b:x"}
    assert [shape.passes(path) for path in ("a:y", "b:x", "b:y")] == [True, True, False]


def test_nodes_of_middleware_do_not_count_as_others() -> None:
    @before_model
    def before(state: Any, runtime: Any) -> None:
        return None

    @after_model
    def after(state: Any, runtime: Any) -> None:
        return None

    @after_agent
    def finally_(state: Any, runtime: Any) -> None:
        return None

    def tool(text: str) -> str:
        """Do nothing."""
        return text

    agent = create_agent(OfflineModel(), [tool], middleware=[before, after, finally_])
    assert not shape_of(agent).passes("model")


def test_destinations_of_commands_are_ways() -> None:
    async def chooses(state: MessagesState) -> Command[Any]:
        return Command(goto="b")

    graph = (
        StateGraph(MessagesState).add_node("a", chooses, destinations=("b",)).add_node("b", nothing)
    )
    shape = shape_of(graph.add_edge(START, "a").add_edge("b", END).compile())
    assert shape.leads["a"] == {"b", END}


@pytest.mark.parametrize(
    ("earlier", "later", "goes_on"),
    [
        ("a@1", "b@2", True),
        ("b@2", "a@1", False),
        ("a@1", "a@1", False),
        ("a@1:x@1", "b@2:x@1", True),
        ("a@1:x@1", "a@1:y@2", True),
        ("a@1:y@2", "a@1:x@1", False),
        ("a@1:x@1", "a@1:x@1:deep@4", False),
        ("unknown@1", "b@2", True),
    ],
)
def test_work_goes_on_along_the_ways_and_the_steps(earlier: str, later: str, goes_on: bool) -> None:
    inner = chain("inner", x=nothing, y=nothing)
    assert shape_of(chain(a=inner, b=inner)).goes_on(earlier, later) is goes_on


def test_branches_of_unequal_depth_do_not_go_on_to_each_other() -> None:
    graph = StateGraph(MessagesState)
    for name in ("short", "long", "longer"):
        graph.add_node(name, nothing)
    graph.add_edge(START, "short").add_edge(START, "long").add_edge("long", "longer")
    graph.add_edge("short", END).add_edge("longer", END)
    shape = shape_of(graph.compile())
    assert shape.goes_on("long@1", "longer@2")
    assert not shape.goes_on("short@1", "longer@2")


def test_a_place_that_was_the_last_of_its_graph_did_not_go_on() -> None:
    shape = shape_of(chain(a=nothing, b=nothing))
    assert not shape.goes_on("b@1", "a@2", {"b@1"})
    assert shape.goes_on("b@1:x@1", "a@2", {"b@1:x@1"}), "the graph around it goes on"


def test_the_policies_of_a_node_that_is_retried_are_known() -> None:
    graph = chain(a=(nothing, {"retry_policy": RetryPolicy()}), b=saying("x"))
    assert shape_of(graph).retries == {"a": (RetryPolicy(),)}
    assert shape_of(graph).forgiving == frozenset()


def test_a_node_that_runs_again_goes_on_to_itself() -> None:
    shape = shape_of(chain(a=nothing, b=nothing))
    assert shape.goes_on("b@2", "b@3", {"b@2"})
    assert not shape.goes_on("b@2", "b@2")
