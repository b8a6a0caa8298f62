"""Any graph of a user's can be served."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.func import entrypoint
from langgraph.graph import START, MessagesState, StateGraph

from orchestrator.graphs import (
    HistoryMessage,
    RunInput,
    load,
    load_graph,
    load_langgraph_json,
    serve_graph,
)
from tests.orchestrator.support import chain, opened

SOURCE = """
from langgraph.graph import START, MessagesState, StateGraph
from langchain_core.messages import AIMessage
import helper

def node(state):
    return {"messages": [AIMessage(helper.WORD)]}

builder = StateGraph(MessagesState).add_node(node).add_edge(START, "node")
graph = builder.compile()

def factory():
    return builder

number = 7
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file with graphs, and a module beside it that it imports."""
    (tmp_path / "helper.py").write_text('WORD = "from a file"\n')
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


async def nothing(state: Any) -> dict[str, Any]:
    return {}


def graph_of(state: type[Any]) -> Any:
    return StateGraph(state).add_node("node", nothing).add_edge(START, "node").compile()


# -- loading ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["graph", "builder", "factory"])
async def test_a_graph_is_loaded_by_path_and_name(url: str, file: Path, name: str) -> None:
    async with opened(url, f"{file}:{name}") as engine:
        assert (engine.default_graph, list(engine.graphs)) == (name, [name, "team"])
        assert await (await engine.start("hello")).text() == "from a file"


@pytest.mark.parametrize(
    ("spec", "error"),
    [("mine.py", ValueError), (":graph", ValueError), ("missing.py:graph", FileNotFoundError)],
)
def test_a_path_that_leads_nowhere_is_refused(spec: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        load_graph(spec)


def test_a_name_that_is_missing_or_no_graph_is_refused(file: Path) -> None:
    with pytest.raises(ValueError, match="has no 'absent'"):
        load_graph(f"{file}:absent")
    with pytest.raises(TypeError, match="number is a int, not a LangGraph graph"):
        load_graph(f"{file}:number")


def test_a_langgraph_json_names_several_graphs(file: Path) -> None:
    listing = file.with_name("langgraph.json")
    listing.write_text(
        '{"dependencies": ["."], "graphs": {'
        '"b": "./mine.py:graph", "a": {"path": "mine.py:factory", "on_crash": "fail"}}}'
    )
    assert [(served.name, served.on_crash) for served in load_langgraph_json(listing)] == [
        ("b", "resume"),
        ("a", "fail"),
    ]
    assert [served.name for served in load(str(listing))] == [served.name for served in load(listing)] == ["b", "a"]


@pytest.mark.parametrize("text", ["", "[]", '{"graphs": 7}', '{"graphs": {"a": "mine.py"}}', '{"graphs": {"a": {}}}'])
def test_a_langgraph_json_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    listing = tmp_path / "langgraph.json"
    listing.write_text(text)
    with pytest.raises(ValueError, match=r"langgraph\.json"):
        load_langgraph_json(listing)


def test_what_is_served_already_stays_as_it_is() -> None:
    served = serve_graph("mine", chain(node=nothing))
    assert load(served) == [served]
    assert [one.name for one in load(chain("named", node=nothing))] == ["named"]


@pytest.mark.parametrize("names", [("mine", "mine"), ("team",)])
async def test_two_graphs_of_one_name_are_refused(url: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=names[0]):
        async with opened(url, *(chain(name, node=nothing) for name in names)):
            pass


# -- talking to a graph -----------------------------------------------------------------------------------------


class OneText(TypedDict):
    topic: str


class Question(TypedDict):
    question: str
    notes: Annotated[list[str], operator.add]


class Several(TypedDict):
    left: str
    right: str


HISTORY = [HistoryMessage(role="user", content="one"), HistoryMessage(role="assistant", content="two")]


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (MessagesState, {"messages": [HumanMessage("one"), AIMessage("two"), HumanMessage("three")]}),
        (Question, {"question": "three"}),
        (OneText, {"topic": "three"}),
    ],
)
def test_the_message_is_put_where_the_graph_takes_it(state: type[Any], expected: dict[str, Any]) -> None:
    assert serve_graph("g", graph_of(state)).make_input(RunInput(message="three"), HISTORY, b"") == expected


def test_a_graph_that_takes_no_text_is_refused() -> None:
    with pytest.raises(ValueError, match="takes neither `messages` nor one of question"):
        serve_graph("g", graph_of(Several))


async def test_a_graph_without_messages_is_answered_from_its_state(url: str) -> None:
    class State(TypedDict, total=False):
        question: str
        answer: str

    async def answers(state: State) -> dict[str, Any]:
        return {"answer": f"about {state['question']}"}

    graph = StateGraph(State).add_node(answers).add_edge(START, "answers").compile(name="keys")
    async with opened(url, graph) as engine:
        assert await (await engine.start("birds")).text() == "about birds"


async def test_a_graph_made_of_functions_is_served_too(url: str) -> None:
    @entrypoint()
    async def workflow(question: str) -> str:
        return f"about {question}"

    async with opened(url, workflow) as engine:
        assert await (await engine.start("birds")).text() == "about birds"
