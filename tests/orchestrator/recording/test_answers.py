"""What is the answer: graphs as people write them, with a chat model over a real HTTP endpoint.

Each graph is run once; what stands as shown, what is stored and what the run ends with must be one
text, and the expected one.
"""

from __future__ import annotations

import asyncio
import json
import operator
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import after_model, before_model
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command, Send
from pydantic import BaseModel, SecretStr

from antiphon.orchestrator.events import (
    AgentChunk,
    AgentStart,
    AnyEvent,
    RunAttempt,
    RunComplete,
    RunError,
    ToolComplete,
)
from tests.orchestrator.support import events_of, of_type, opened, shown_answer
from tests.support.model_server import ModelRequest, ModelServer, Reply

Model = ChatOpenAI
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic serializer warnings:UserWarning")


def script(request: ModelRequest) -> Reply:
    """Reply by the last message, and by the tools and schemas of the request."""
    body = request.body
    messages = body["messages"]
    last = str(messages[-1]["content"])
    tools = [one["function"]["name"] for one in body.get("tools", [])]
    if "response_format" in body:
        return Reply(text=json.dumps(_structured(body, messages)))
    if messages[-1]["role"] == "tool":
        return Reply(text=_after_tools(tools, messages))
    for name, arguments in (
        ("look", {"what": "sky"}),
        ("research", {"topic": "x"}),
        ("Verdict", {"score": 5}),
    ):
        if name in tools:
            said = "Let me look." if name == "look" else ""
            return Reply(text=said, tool_calls=[{"name": name, "arguments": arguments}])
    return Reply(text=SAYINGS.get(last.partition(":")[0], f"re {last}"))


SAYINGS = {
    "outline": "1. Begin 2. End",
    "draft": "A draft.",
    "polish": "The polished text.",
    "judge": "PASS",
    "guard": "SAFE",
    "hello": "Hello there.",
    "work": "The work is done.",
}


def _structured(body: dict[str, Any], messages: list[Any]) -> dict[str, Any]:
    if body["response_format"].get("json_schema", {}).get("name") == "Verdict":
        return {"score": 5}
    worked = any(
        one.get("name") == "worker" or "work is done" in str(one["content"]) for one in messages
    )
    return {"next": "FINISH" if worked else "worker"}


def _after_tools(tools: list[str], messages: list[Any]) -> str:
    return "The sky is blue." if "look" in tools else f"Found: {messages[-1]['content']}"


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    async with ModelServer(script) as server:
        yield ChatOpenAI(
            model="m",
            base_url=server.base_url,
            api_key=SecretStr("x"),
            use_responses_api=False,
            stream_usage=True,
        )


class Next(BaseModel):
    """Who is next."""

    next: Literal["worker", "FINISH"]


class Verdict(BaseModel):
    """A score."""

    score: int


@tool
def look(what: str) -> str:
    """Look at something."""
    return f"saw {what}"


@tool(return_direct=True)
def research(topic: str) -> str:
    """Research a topic."""
    return f"All about {topic}."


def asks(model: Model, what: str, key: str | None = None) -> Callable[[Any], Any]:
    """A node that asks the model, and writes its text under a key, or appends its message."""

    async def node(state: Any) -> dict[str, Any]:
        answer = await model.ainvoke(f"{what}: {state.get('topic', '')}")
        return {"messages": [answer]} if key is None else {key: answer.content}

    return node


def linear(state: type, **nodes: Any) -> Any:
    graph = StateGraph(state).add_sequence(list(nodes.items()))
    return graph.add_edge(START, next(iter(nodes))).compile()


async def told(url: str, graph: Any, message: str = "hello") -> list[AnyEvent]:
    """The events of a run, of which what was shown, stored and returned agree."""
    async with opened(url, graph) as engine:
        run = await engine.start(message)
        events = await events_of(run)
        end = events[-1]
        if isinstance(end, RunComplete):
            stored = [
                one.content
                for one in await engine.messages(run.thread_id)
                if one.role == "assistant"
            ]
            assert [end.text] == stored
            assert shown_answer(events) == end.text
    return events


async def answer_of(url: str, graph: Any, message: str = "hello") -> tuple[str, str | None]:
    end = (await told(url, graph, message))[-1]
    assert isinstance(end, RunComplete), end
    return end.text, end.primary_agent


def agents_of(events: list[AnyEvent]) -> list[str]:
    return [event.agent for event in of_type(events, AgentStart)]


# -- routers, workers, judges, guards --------------------------------------------------------------


def supervised(model: Model, signed: Callable[[str], Any]) -> Any:
    async def supervisor(state: MessagesState) -> Command[Literal["worker", "__end__"]]:
        chosen = await model.with_structured_output(Next).ainvoke(state["messages"])
        assert isinstance(chosen, Next)
        return Command(goto=END if chosen.next == "FINISH" else "worker")

    async def worker(state: MessagesState) -> Command[Literal["supervisor"]]:
        done = await model.ainvoke("work")
        return Command(goto="supervisor", update={"messages": [signed(str(done.content))]})

    graph = StateGraph(MessagesState).add_node("supervisor", supervisor).add_node("worker", worker)
    return graph.add_edge(START, "supervisor").compile()


@pytest.mark.parametrize(
    "signed",
    [
        pytest.param(AIMessage, id="the worker's message"),
        pytest.param(lambda text: HumanMessage(text, name="worker"), id="a named human message"),
    ],
)
async def test_the_workers_text_is_the_answer_and_the_routing_is_not(
    url: str, model: Model, signed: Any
) -> None:
    events = await told(url, supervised(model, signed))
    assert (events[-1].text, events[-1].primary_agent) == ("The work is done.", "worker")
    assert agents_of(events) == ["supervisor", "worker", "supervisor"]
    chunks = of_type(events, AgentChunk)
    assert {chunk.agent for chunk in chunks if chunk.channel == "answer"} == {"worker"}
    assert of_type(events, RunAttempt) == []


class Judged(TypedDict, total=False):
    question: str
    answer: str
    verdict: str


async def test_a_judges_verdict_is_not_the_answer(url: str, model: Model) -> None:
    graph = linear(
        Judged, writes=asks(model, "draft", "answer"), judges=asks(model, "judge", "verdict")
    )
    assert await answer_of(url, graph) == ("A draft.", "writes")


async def test_a_guards_word_before_the_answer_is_not_the_answer(url: str, model: Model) -> None:
    events = await told(
        url,
        linear(
            Judged, guards=asks(model, "guard", "verdict"), writes=asks(model, "draft", "answer")
        ),
    )
    assert (events[-1].text, events[-1].primary_agent) == ("A draft.", "writes")
    assert of_type(events, AgentStart)[0].passing


class Essay(TypedDict, total=False):
    topic: str
    outline: str
    draft: str
    polished: str


async def test_of_a_chain_of_texts_the_last_one_is_the_answer(url: str, model: Model) -> None:
    nodes = {"plans": "outline", "drafts": "draft", "polishes": "polish"}
    keys = {"plans": "outline", "drafts": "draft", "polishes": "polished"}
    graph = linear(Essay, **{name: asks(model, what, keys[name]) for name, what in nodes.items()})
    assert await answer_of(url, graph) == ("The polished text.", "polishes")


async def test_of_loop_rounds_the_last_one_is_the_answer(url: str, model: Model) -> None:
    async def writes(state: MessagesState) -> dict[str, Any]:
        round_ = sum(isinstance(one, AIMessage) for one in state["messages"]) + 1
        return {"messages": [await model.ainvoke(f"round {round_}")]}

    async def criticises(state: MessagesState) -> dict[str, Any]:
        critique = await model.ainvoke("judge")
        return {"messages": [HumanMessage(f"Again: {critique.content}")]}

    def more(state: MessagesState) -> str:
        return "criticises" if len(state["messages"]) < 5 else END

    graph = (
        StateGraph(MessagesState).add_node(writes).add_node(criticises).add_edge(START, "writes")
    )
    graph.add_conditional_edges("writes", more, ["criticises", END]).add_edge(
        "criticises", "writes"
    )
    events = await told(url, graph.compile())
    assert (events[-1].text, events[-1].primary_agent) == ("re round 3", "writes")


async def test_a_call_inside_an_edge_is_not_the_answer(url: str, model: Model) -> None:
    async def chooses(state: MessagesState) -> str:
        await model.ainvoke("judge")
        return END

    graph = (
        StateGraph(MessagesState).add_node("writes", asks(model, "draft")).add_edge(START, "writes")
    )
    events = await told(url, graph.add_conditional_edges("writes", chooses, [END]).compile())
    assert events[-1].text == "A draft."
    assert {chunk.text for chunk in of_type(events, AgentChunk) if chunk.channel == "draft"} == {
        "PASS"
    }


async def test_a_grader_in_the_same_node_is_not_the_answer(url: str, model: Model) -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        await model.ainvoke("judge")
        return {"messages": [await model.ainvoke("draft")]}

    assert await answer_of(url, linear(MessagesState, node=node)) == ("A draft.", "node")


# -- several texts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [None, "sky_agent"])
async def test_a_preamble_to_a_tool_stands_before_the_answer(
    url: str, model: Model, name: str | None
) -> None:
    events = await told(url, create_agent(model, [look], name=name))
    assert events[-1].text == "Let me look.\n\nThe sky is blue."
    assert events[-1].primary_agent == (name or "model")
    assert len({(chunk.span, chunk.part) for chunk in of_type(events, AgentChunk)}) == 2
    assert [done.output for done in of_type(events, ToolComplete)] == ["saw sky"]


async def test_two_calls_at_once_in_a_node_are_two_texts(url: str, model: Model) -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        said = await asyncio.gather(model.ainvoke("one two three"), model.ainvoke("four five six"))
        return {"messages": [AIMessage("\n\n".join(str(one.text) for one in said))]}

    events = await told(url, linear(MessagesState, node=node))
    assert events[-1].text == "re one two three\n\nre four five six"
    texts = {(chunk.span, chunk.part) for chunk in of_type(events, AgentChunk)}
    assert len(texts) >= 2


class Mapped(TypedDict, total=False):
    topic: str
    parts: Annotated[list[str], operator.add]
    answer: str


async def test_of_a_map_reduce_the_reduction_is_the_answer(url: str, model: Model) -> None:
    async def maps(state: Mapped) -> dict[str, Any]:
        return {"parts": [str((await model.ainvoke(f"part {state['topic']}")).content)]}

    async def reduces(state: Mapped) -> dict[str, Any]:
        return {"answer": " + ".join(sorted(state["parts"]))}

    graph = StateGraph(Mapped).add_node(maps).add_node(reduces).add_edge("maps", "reduces")
    graph.add_conditional_edges(
        START, lambda state: [Send("maps", {"topic": one}) for one in "ab"], ["maps"]
    )
    assert await answer_of(url, graph.compile()) == ("re part a + re part b", "reduces")


async def test_of_parallel_answers_the_last_message_is_the_answer(url: str, model: Model) -> None:
    graph = (
        StateGraph(MessagesState)
        .add_node("short", asks(model, "work"))
        .add_node("deep", asks(model, "outline"))
    )
    graph.add_node("deeper", asks(model, "polish")).add_edge(START, "short").add_edge(START, "deep")
    graph.add_edge("deep", "deeper").add_edge("short", END)
    assert await answer_of(url, graph.compile()) == ("The polished text.", "deeper")


class Both(TypedDict, total=False):
    question: str
    summary: str
    translation: str


async def test_parallel_texts_under_keys_stand_in_the_outputs_order(url: str, model: Model) -> None:
    graph = (
        StateGraph(Both).add_node("sums", asks(model, "draft", "summary")).add_edge(START, "sums")
    )
    graph.add_node("translates", asks(model, "polish", "translation")).add_edge(START, "translates")
    events = await told(url, graph.compile())
    assert events[-1].text == "A draft.\n\nThe polished text."


async def test_a_preamble_of_another_agent_is_not_part_of_the_answer(
    url: str, model: Model
) -> None:
    worker = create_agent(model, [look], name="worker")

    async def works(state: MessagesState) -> dict[str, Any]:
        return {"messages": (await worker.ainvoke(state))["messages"][1:]}

    graph = linear(MessagesState, works=works, answers=asks(model, "work"))
    assert await answer_of(url, graph) == ("The work is done.", "answers")


# -- what a graph's output gives -------------------------------------------------------------------


async def test_a_tool_that_answers_directly_is_the_answer(url: str, model: Model) -> None:
    assert (await answer_of(url, create_agent(model, [research])))[0] == "All about x."


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy])
async def test_a_structured_response_is_shown_as_json(
    url: str, model: Model, strategy: Any
) -> None:
    text, _ = await answer_of(url, create_agent(model, [], response_format=strategy(Verdict)))
    assert json.loads(text) == {"score": 5}


async def test_an_output_schema_of_ones_own_gives_the_answer(url: str, model: Model) -> None:
    class Out(TypedDict):
        summary: str

    class State(Out, total=False):
        topic: str
        notes: str

    async def writes(state: State) -> dict[str, Any]:
        return {"notes": (await model.ainvoke("outline")).content, "summary": "In short: fine."}

    graph = (
        StateGraph(State, output_schema=Out).add_node(writes).add_edge(START, "writes").compile()
    )
    assert await answer_of(url, graph) == ("In short: fine.", "writes")


async def test_what_a_node_makes_of_a_text_is_the_answer(url: str, model: Model) -> None:
    async def shouts(state: Judged) -> dict[str, Any]:
        return {"answer": str((await model.ainvoke("draft")).content).upper()}

    assert await answer_of(url, linear(Judged, shouts=shouts)) == ("A DRAFT.", "shouts")


async def test_a_worker_before_a_node_without_a_model_answers(url: str, model: Model) -> None:
    async def counts(state: MessagesState) -> dict[str, Any]:
        return {}

    assert await answer_of(
        url, linear(MessagesState, works=asks(model, "work"), counts=counts)
    ) == (
        "The work is done.",
        "works",
    )


async def test_an_object_is_shown_as_json(url: str) -> None:
    class State(TypedDict, total=False):
        topic: str
        score: int
        words: list[str]

    async def scores(state: State) -> dict[str, Any]:
        return {"score": 5, "words": ["a"]}

    text, _ = await answer_of(url, linear(State, scores=scores))
    assert json.loads(text) == {"topic": "hello", "score": 5, "words": ["a"]}


async def test_what_a_model_said_aside_does_not_stand_for_a_declared_output(
    url: str, model: Model
) -> None:
    class Score(TypedDict):
        score: int

    class State(Score, total=False):
        question: str
        thoughts: str

    async def scores(state: State) -> dict[str, Any]:
        return {"thoughts": (await model.ainvoke("draft")).content, "score": 9}

    graph = (
        StateGraph(State, output_schema=Score).add_node(scores).add_edge(START, "scores").compile()
    )
    assert json.loads((await answer_of(url, graph))[0]) == {"score": 9}


class Kept(MessagesState, total=False):
    secret: str
    count: int


async def test_a_conversations_other_keys_are_never_the_answer(url: str) -> None:
    async def keeps(state: Kept) -> dict[str, Any]:
        return {"secret": "sk-123", "count": 1}

    events = await told(url, linear(Kept, keeps=keeps))
    assert isinstance(events[-1], RunError)
    assert all("sk-123" not in one.text for one in of_type(events, AgentChunk))


async def test_a_run_without_an_answer_keeps_the_state_that_its_graph_has_reached(url: str) -> None:
    async def counts(state: Kept) -> dict[str, Any]:
        count = state.get("count", 0) + 1
        return {"count": count, "messages": [AIMessage(f"turn {count}")] if count > 1 else []}

    async with opened(url, linear(Kept, counts=counts)) as engine:
        first = await engine.start("hello")
        assert isinstance(await first.wait(), RunError)
        assert await (await engine.start("again", thread_id=first.thread_id)).text() == "turn 2"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            AIMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]),
            "[image]",
        ),
        (
            AIMessage([{"type": "text", "text": "See: "}, {"type": "image", "base64": "AA=="}]),
            "See: ",
        ),
        (
            AIMessage("", tool_calls=[{"name": "show", "args": {"x": 1}, "id": "c1"}]),
            'show({"x":1})',
        ),
        ("plain", "plain"),
    ],
    ids=["an image", "text and image", "tools for the client", "a bare text"],
)
async def test_answers_without_words_are_answers(url: str, message: Any, text: str) -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": message}

    assert (await answer_of(url, linear(MessagesState, node=node)))[0] == text


async def test_an_output_that_equals_the_input_is_an_output(url: str) -> None:
    class State(TypedDict, total=False):
        question: str
        text_out: str

    async def copies(state: State) -> dict[str, Any]:
        return {"text_out": state["question"]}

    assert (await answer_of(url, linear(State, copies=copies)))[0] == "hello"


async def test_no_text_and_no_output_is_no_success(url: str) -> None:
    async def silent(state: MessagesState) -> dict[str, Any]:
        return {}

    end = (await told(url, linear(MessagesState, silent=silent)))[-1]
    assert isinstance(end, RunError)
    assert end.code == "NO_ANSWER"


@pytest.mark.parametrize(
    "value",
    [
        "plain text",
        AIMessage("plain text"),
        [AIMessage("plain text")],
        {"answer": "plain text"},
        {"messages": [HumanMessage("hello"), AIMessage("plain text")]},
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("final", [False, True])
async def test_the_value_of_an_entrypoint_is_the_answer(url: str, value: Any, final: bool) -> None:
    @entrypoint()
    async def workflow(message: str) -> Any:
        return entrypoint.final(value=value, save=1) if final else value

    assert await answer_of(url, workflow) == ("plain text", "workflow")


async def test_tasks_of_a_workflow_are_not_the_answer_unless_it_returns_them(
    url: str, model: Model
) -> None:
    @task
    async def plans(topic: str) -> str:
        return str((await model.ainvoke("outline")).content)

    @task
    async def writes(plan: str) -> str:
        return str((await model.ainvoke("polish")).content)

    @entrypoint()
    async def workflow(message: str) -> dict[str, Any]:
        return {"essay": await writes(await plans(message))}

    events = await told(url, workflow)
    assert events[-1].text == "The polished text."
    assert agents_of(events) == ["workflow", "plans", "writes"]


@pytest.mark.parametrize(
    "update",
    [
        ("ai", "hi"),
        [("assistant", "hi")],
        [{"role": "assistant", "content": "hi"}],
        AIMessage("hi"),
    ],
    ids=str,
)
async def test_messages_in_every_form_are_messages(url: str, update: Any) -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": update}

    assert await answer_of(url, linear(MessagesState, node=node)) == ("hi", "node")


# -- agents ----------------------------------------------------------------------------------------


async def test_middleware_is_no_agent_and_hides_no_tokens(url: str, model: Model) -> None:
    @before_model
    async def summarises(state: Any, runtime: Any) -> dict[str, Any] | None:
        await model.ainvoke("outline")
        return None

    @after_model
    def checks(state: Any, runtime: Any) -> dict[str, Any] | None:
        return None

    events = await told(url, create_agent(model, [], middleware=[summarises, checks]))
    assert (events[-1].text, events[-1].primary_agent) == ("Hello there.", "model")
    assert set(agents_of(events)) == {"model"}
    assert len([chunk for chunk in of_type(events, AgentChunk) if chunk.channel == "answer"]) >= 1


async def test_an_agent_inside_a_tool_drafts(url: str, model: Model) -> None:
    inner = create_agent(model, [], name="researcher")

    @tool
    async def look(what: str) -> str:
        """Look at something."""
        found = await inner.ainvoke({"messages": [("user", "work")]})
        return str(found["messages"][-1].content)

    events = await told(url, create_agent(model, [look], name="boss"))
    assert events[-1].text == "Let me look.\n\nThe sky is blue."
    drafted = {chunk.agent for chunk in of_type(events, AgentChunk) if chunk.channel == "draft"}
    assert drafted == {"researcher"}


async def test_a_hook_that_ends_an_agent_answers_for_it_and_not_for_its_tools_agent(
    url: str, model: Model
) -> None:
    inner = create_agent(model, [], name="researcher")

    @tool
    async def look(what: str) -> str:
        """Look at something."""
        await inner.ainvoke({"messages": [("user", "work")]})
        return "a secret"

    @before_model(can_jump_to=["end"])
    def keeps_secrets(state: Any, runtime: Any) -> dict[str, Any] | None:
        if "secret" not in str(state["messages"][-1].text):
            return None
        return {"messages": [AIMessage("I keep secrets.")], "jump_to": "end"}

    graph = create_agent(model, [look], middleware=[keeps_secrets], name="boss")
    events = await told(url, graph)
    assert events[-1].text.endswith("I keep secrets.")
    assert (agents_of(events)[:2], events[-1].primary_agent) == (["boss", "researcher"], "boss")


async def test_a_hand_over_in_a_swarm_is_shown_with_what_was_said_before(
    url: str, model: Model
) -> None:
    async def alice(state: MessagesState) -> Command[Literal["bob"]]:
        call = {"name": "to_bob", "args": {}, "id": "c1", "type": "tool_call"}
        said = AIMessage("I ask Bob.", tool_calls=[call])
        return Command(
            goto="bob", update={"messages": [said, ToolMessage("handed over", tool_call_id="c1")]}
        )

    graph = StateGraph(MessagesState).add_node("alice", alice).add_node("bob", asks(model, "work"))
    events = await told(url, graph.add_edge(START, "alice").compile())
    assert events[-1].primary_agent == "bob"
    assert events[-1].text.endswith("The work is done.")


async def test_a_removed_message_is_not_the_answer(url: str, model: Model) -> None:
    async def trims(state: MessagesState) -> dict[str, Any]:
        first = state["messages"][0]
        return {"messages": [RemoveMessage(id=str(first.id)), await model.ainvoke("work")]}

    assert await answer_of(url, linear(MessagesState, trims=trims)) == (
        "The work is done.",
        "trims",
    )


@pytest.mark.parametrize("size", [10, 5_000_000])
async def test_a_tools_output_is_its_own_words_and_bounded(
    url: str, model: Model, size: int
) -> None:
    @tool
    def look(what: str) -> Command[Any]:
        """Look at something."""
        messages = [HumanMessage("x" * size), ToolMessage("saw it", tool_call_id="will be set")]
        return Command(update={"messages": messages})

    async def calls(state: MessagesState) -> dict[str, Any]:
        found = look.invoke({"what": "sky"})
        return {"messages": [AIMessage(f"{type(found).__name__}")]}

    async def large(state: MessagesState) -> dict[str, Any]:
        @tool
        async def reads(what: str) -> str:
            """Read something."""
            return "y" * size

        await reads.ainvoke({"what": "book"})
        return {"messages": [AIMessage("read")]}

    events = await told(url, linear(MessagesState, calls=calls, large=large))
    outputs = [done.output for done in of_type(events, ToolComplete)]
    assert outputs[0] == "saw it"
    assert len(outputs[1]) <= 70_000


class Table:
    """A value as numpy's arrays are: comparing it gives no yes or no."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value is ambiguous")

    __hash__ = object.__hash__


async def test_values_that_cannot_be_compared_disturb_nothing(url: str) -> None:
    class State(TypedDict, total=False):
        question: str
        table: Any
        answer: str

    graph = StateGraph(State)
    graph.add_node("work", lambda state: {"table": Table(), "answer": "Two rows."})
    graph.add_edge(START, "work")
    async with opened(url, graph.compile(name="graph")) as engine:
        run = await engine.start("How many?", inputs={"table": [1, 2]})
        assert await run.text() == "Two rows."
