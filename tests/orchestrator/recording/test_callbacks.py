"""LangGraph's and LangChain's callbacks as exact sequences of events, for graphs of all shapes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from threading import Event, current_thread
from typing import Any

import msgspec
import pytest
from langchain.agents import create_agent
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.errors import NodeError
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.pregel import Pregel
from langgraph.types import Command, RetryPolicy, interrupt

from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Custom,
    MessageBody,
    MessageSaved,
    Progress,
    RunAttempt,
    RunComplete,
    RunError,
    RunStart,
    Superseded,
    TextRef,
    ToolComplete,
    ToolError,
    ToolStart,
    Usage,
    encode,
)
from antiphon.orchestrator.recording.metadata import LABEL
from antiphon.orchestrator.recording.replies import reply_text
from antiphon.orchestrator.recording.spans import OUTPUTS_LIMIT
from antiphon.orchestrator.recording.view import NO_ANSWER
from antiphon.orchestrator.testing import ScriptedModel, tool_call
from antiphon.orchestrator.values import plain
from tests.orchestrator.support import (
    about_agents,
    asking,
    chain,
    events_of,
    of_type,
    opened,
    reach,
    reach_text,
    saying,
    shown_answer,
    side_by_side,
    spoken,
)

AT_ONCE = RetryPolicy(initial_interval=0.0, jitter=False, retry_on=ValueError)


async def run_of(url: str, graph: Any) -> list[AnyEvent]:
    """All events of one run of a graph."""
    async with opened(url, graph) as engine:
        return await events_of(await engine.start("hello"))


async def says_hi(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage("hi")]}


# -- nodes -----------------------------------------------------------------------------------------


async def test_a_run_of_one_node_is_told_from_the_message_to_the_answer(url: str) -> None:
    async with opened(url, chain("plain", writer=saying("Hel", "lo"))) as engine:
        run = await engine.start("hi")
        events = [
            event
            for event in await events_of(run)
            if not isinstance(event, AgentChunk | AgentTextEnd)
        ]
    reply_id = events[0].reply_id
    assert events == [
        RunStart(input={"message": "hi"}, graph="plain", dialect="native", reply_id=reply_id),
        MessageSaved(
            message=MessageBody(id=run.message_id, role="user", content="hi", author="local")
        ),
        Progress(value=0.0, stage="starting", message="Processing started"),
        AgentStart(span="1.1", agent="writer"),
        AgentComplete(
            span="1.1",
            agent="writer",
            text="Hello",
            duration_ms=events[4].duration_ms,
            outputs={"messages": [{"role": "ai", "content": "Hello"}]},
            answered=True,
        ),
        MessageSaved(
            message=MessageBody(
                id=reply_id,
                role="assistant",
                content="Hello",
                parent=run.message_id,
                author="writer",
            )
        ),
        Progress(value=1.0, stage="finishing", message="Done"),
        RunComplete(
            message_id=reply_id, text="Hello", primary_agent="writer", execution_order=["writer"]
        ),
    ]


def no_answer(after: int, agent: str, *texts: tuple[str, int]) -> RunAttempt:
    refs = [TextRef(span=span, part=part) for span, part in texts]
    superseded = Superseded(after=after, agents=[agent], spans=[], texts=refs)
    return RunAttempt(attempt=1, reason=NO_ANSWER, supersedes=superseded)


async def test_a_text_whose_work_went_on_to_a_node_that_answers_is_taken_back(url: str) -> None:
    events = await run_of(url, chain(first=saying("thinking"), last=saying("answer")))
    assert about_agents(events) == [
        AgentStart(span="1.1", agent="first", passing=True),
        AgentChunk(span="1.1", agent="first", text="thinking"),
        AgentComplete(span="1.1", agent="first", text="thinking"),
        AgentStart(span="1.2", agent="last"),
        AgentChunk(span="1.2", agent="last", text="answer"),
        no_answer(3, "first", ("1.1", 0)),
        AgentComplete(span="1.2", agent="last", text="answer"),
    ]
    assert shown_answer(events) == events[-1].text == "answer"


async def test_a_message_that_a_node_returns_without_streaming_is_said_at_its_end(url: str) -> None:
    assert about_agents(await run_of(url, chain(node=says_hi))) == [
        AgentStart(span="1.1", agent="node"),
        AgentChunk(span="1.1", agent="node", text="hi"),
        AgentComplete(span="1.1", agent="node", text="hi"),
    ]


async def test_a_command_answers_like_a_plain_return_value(url: str) -> None:
    async def node(state: MessagesState) -> Command[str]:
        return Command(goto=END, update={"messages": [AIMessage("by command")]})

    events = await run_of(url, chain(node=(node, {"destinations": (END,)})))
    assert spoken(events) == {"1.1": "by command"}


async def test_the_last_node_answers_however_it_is_reached(url: str) -> None:
    async def chooses(state: MessagesState) -> Command[str]:
        return Command(goto="writer")

    graph = (
        StateGraph(MessagesState).add_node("chooses", chooses).add_node("writer", saying("text"))
    )
    events = await run_of(url, graph.add_edge(START, "chooses").compile(name="commanded"))
    assert shown_answer(events) == events[-1].text == "text"


def labelled(**label: Any) -> dict[str, Any]:
    return {"metadata": {LABEL: label}}


@pytest.mark.parametrize(
    "metadata",
    [
        {"role": "manager"},
        {"channel": "sms", "kind": 3, "title": ["t"], "limits": "none", "agent_id": 7},
        {"agent_id": "a-12", "role": "primary", "channel": "draft"},
        {LABEL: "ours?"},
        {LABEL: {"role": "manager", "channel": 9}},
        {"lc_agent_name": 3, "ls_model_name": 5},
    ],
)
async def test_labels_of_users_are_their_own(url: str, metadata: dict[str, Any]) -> None:
    graph = chain(node=(saying("text"), {"metadata": metadata}))
    for served in (graph, graph.with_config(metadata=metadata)):
        events = await run_of(url, served)
        assert of_type(events, AgentStart) == [AgentStart(span="1.1", agent="node")]
        assert shown_answer(events) == events[-1].text == "text"


@pytest.mark.parametrize("reason", [3, ["stop"], {"why": "stop"}, None, ""])
async def test_a_finish_reason_that_is_no_text_is_left_out(url: str, reason: Any) -> None:
    message = AIMessageChunk("text", response_metadata={"finish_reason": reason})
    events = await run_of(url, chain(node=asking(ScriptedModel(turns=[[message]]))))
    assert of_type(events, AgentComplete)[0].finish_reason is None
    assert events[-1].text == "text"


async def test_metadata_names_hides_and_places_a_node(url: str) -> None:
    graph = chain(
        a=(saying("one"), labelled(agent="Researcher", role="supporting", channel="draft")),
        b=(saying("two"), labelled(agent="")),
        c=(saying("three"), labelled(agent="Writer", role="primary", channel="answer")),
    )
    assert about_agents(await run_of(url, graph)) == [
        AgentStart(span="1.1", agent="Researcher", role="supporting"),
        AgentChunk(span="1.1", agent="Researcher", role="supporting", text="one", channel="draft"),
        AgentComplete(span="1.1", agent="Researcher", role="supporting", text="one"),
        AgentStart(span="1.2", agent="Writer", role="primary"),
        AgentChunk(span="1.2", agent="Writer", role="primary", text="three"),
        AgentComplete(span="1.2", agent="Writer", role="primary", text="three"),
    ]


async def test_texts_of_branches_that_stream_at_once_never_mix(url: str) -> None:
    first, second = asyncio.Event(), asyncio.Event()
    graph = side_by_side(
        left=saying("L1 ", first, "L2 ", second, "L3"),
        right=saying("R1 ", first, "R2 ", second, "R3"),
    )
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        await reach_text(run, "L1 ", "R1 ")
        first.set()
        await reach_text(run, "L2 ", "R2 ")
        second.set()
        events = await events_of(run)
    chunks = of_type(events, AgentChunk)
    assert {(chunk.span, chunk.agent, chunk.text[0]) for chunk in chunks} == {
        ("1.1", "left", "L"),
        ("1.2", "right", "R"),
    }
    assert len({chunk.span for chunk in chunks[:2]}) == 2, "neither waited for the other"
    assert {complete.span: complete.text for complete in of_type(events, AgentComplete)} == {
        "1.1": "L1 L2 L3",
        "1.2": "R1 R2 R3",
    }


async def test_a_subgraph_encloses_its_nodes_and_only_its_last_one_answers(url: str) -> None:
    inner = chain("inner", plan=saying("plan"), write=saying("text"))
    assert about_agents(await run_of(url, chain(before=saying("notes"), nested=inner))) == [
        AgentStart(span="1.1", agent="before", passing=True),
        AgentChunk(span="1.1", agent="before", text="notes"),
        AgentComplete(span="1.1", agent="before", text="notes"),
        AgentStart(span="1.2", agent="nested"),
        AgentStart(span="1.3", agent="plan", parent="1.2", passing=True),
        AgentChunk(span="1.3", agent="plan", text="plan"),
        no_answer(3, "before", ("1.1", 0)),
        AgentComplete(span="1.3", agent="plan", text="plan"),
        AgentStart(span="1.4", agent="write", parent="1.2"),
        AgentChunk(span="1.4", agent="write", text="text"),
        no_answer(8, "plan", ("1.3", 0)),
        AgentComplete(span="1.4", agent="write", text="text"),
        AgentComplete(span="1.2", agent="nested", text=""),
    ]


async def test_outputs_are_plain_and_bounded(url: str) -> None:
    class State(MessagesState):
        found: Any

    async def small(state: State) -> dict[str, Any]:
        return {"found": {1: {"a"}, "path": Path("x"), "message": AIMessage("m")}}

    async def large(state: State) -> dict[str, Any]:
        return {"found": "x" * OUTPUTS_LIMIT}

    graph = (
        StateGraph(State)
        .add_sequence([small, large])
        .add_edge(START, "small")
        .compile(name="outputs")
    )
    told = of_type(await run_of(url, graph), AgentComplete)
    assert [complete.outputs for complete in told[:2]] == [
        {"found": {"1": ["a"], "path": "<PosixPath>", "message": {"role": "ai", "content": "m"}}},
        {},
    ]


async def test_a_node_that_passes_the_state_on_says_nothing(url: str) -> None:
    async def passing(state: MessagesState) -> Any:
        return state

    events = await run_of(url, chain(writer=saying("once"), passing=passing))
    assert spoken(events) == {"1.1": "once"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({(1, 2): 3}, id="keys that are no text"),
        pytest.param({"lone": "\ud800"}, id="not Unicode"),
    ],
)
async def test_a_value_that_json_cannot_hold_does_not_fail_the_run(url: str, value: Any) -> None:
    class State(MessagesState):
        found: Any

    async def node(state: State) -> dict[str, Any]:
        return {"messages": [AIMessage("fine")], "found": value}

    graph = StateGraph(State).add_node(node).add_edge(START, "node").compile(name="odd")
    assert isinstance((await run_of(url, graph))[-1], RunComplete)


def test_a_value_that_contains_itself_can_be_told() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    assert encode(Custom(name="loop", value=plain(loop)))


# -- agents made by create_agent -------------------------------------------------------------------


@tool
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


@tool
def broken(a: int) -> int:
    """Fail."""
    raise ValueError("secret")


@tool
async def approval(question: str) -> str:
    """Ask a human."""
    return str(interrupt(question))


def agent_with(given: Any, *turns: Any) -> Pregel[Any, Any, Any, Any]:
    return create_agent(ScriptedModel(turns=turns), [given], name="adder")


def adder() -> Pregel[Any, Any, Any, Any]:
    return agent_with(add, ["I add. ", tool_call("add", "c1", a=1, b=2)], ["It is ", "3."])


def adder_inside() -> Pregel[Any, Any, Any, Any]:
    agent = adder()

    async def calls(state: MessagesState) -> dict[str, Any]:
        return {"messages": (await agent.ainvoke(state))["messages"][-1:]}

    return chain(calc=calls)


def told_of_adder(span: str, parent: str | None = None) -> list[AnyEvent]:
    return [
        AgentStart(span=span, agent="adder", parent=parent),
        AgentChunk(span=span, agent="adder", text="I add. "),
        ToolStart(span=span, call_id="c1", name="add", args={"a": 1, "b": 2}),
        ToolComplete(span=span, call_id="c1", name="add", output="3"),
        AgentChunk(span=span, agent="adder", text="It is 3.", part=1),
        AgentComplete(span=span, agent="adder", text="I add. \n\nIt is 3."),
    ]


async def test_an_agent_as_the_whole_graph_is_one_span(url: str) -> None:
    events = await run_of(url, adder())
    assert about_agents(events) == told_of_adder("1.1")
    assert (events[-1].text, events[-1].primary_agent) == ("I add. \n\nIt is 3.", "adder")
    assert of_type(events, AgentTextEnd) == [
        AgentTextEnd(span="1.1", agent="adder", part=0, node="model@1", calls_tools=True),
        AgentTextEnd(span="1.1", agent="adder", part=1, node="model@3"),
    ]


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(lambda: chain(calc=adder()), id="as a node"),
        pytest.param(adder_inside, id="inside a node"),
    ],
)
async def test_an_agent_in_a_node_is_a_span_in_the_nodes_span(url: str, graph: Any) -> None:
    told = [
        event
        for event in about_agents(await run_of(url, graph()))
        if not isinstance(event, RunAttempt)
    ]
    assert told == [
        AgentStart(span="1.1", agent="calc"),
        *told_of_adder("1.2", parent="1.1"),
        AgentComplete(span="1.1", agent="calc", text=""),
    ]


async def test_a_tool_that_fails_is_told_without_its_message(url: str) -> None:
    events = await run_of(url, agent_with(broken, ["Now. ", tool_call("broken", "c1", a=1)]))
    assert about_agents(events)[2:] == [
        ToolStart(span="1.1", call_id="c1", name="broken", args={"a": 1}),
        ToolError(span="1.1", call_id="c1", name="broken", code="TOOL_FAILED"),
        AgentError(
            span="1.1",
            agent="adder",
            code="AGENT_FAILED",
            message="An agent failed.",
            recoverable=False,
        ),
    ]
    assert b"secret" not in b"".join(map(encode, events))


async def test_a_tool_that_asked_a_human_is_called_again_with_the_same_call_id(url: str) -> None:
    agent = agent_with(approval, ["Wait. ", tool_call("approval", "c1", question="ok?")], ["Done."])
    async with opened(url, agent) as engine:
        run = await engine.start("hello")
        assert await run.text() == "ok?"
        await run.answer("yes")
        assert await run.text() == "Done."
        events = await events_of(run)
    assert {event.call_id for event in of_type(events, ToolStart)} == {"c1"}
    assert [event.output for event in of_type(events, ToolComplete)] == ["yes"]


async def test_a_tool_that_asks_a_human_has_not_failed(url: str) -> None:
    agent = agent_with(approval, ["Wait. ", tool_call("approval", "c1", question="ok?")], ["Done."])
    assert of_type(await run_of(url, agent), ToolError) == []


# -- models ----------------------------------------------------------------------------------------


async def test_tokens_are_seen_while_the_model_still_speaks(url: str) -> None:
    gate = asyncio.Event()
    async with opened(url, chain(node=saying("first ", gate, "last"))) as engine:
        run = await engine.start("hello")
        events = await reach(run, lambda events: bool(of_type(events, AgentChunk)))
        assert events[-1].text == "first "
        gate.set()
        assert await run.text() == "first last"


async def test_a_model_tagged_nostream_is_silent_but_counted(url: str) -> None:
    used = AIMessageChunk(
        "yes", usage_metadata={"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}
    )
    silent = ScriptedModel(turns=[[used]])

    async def judge(state: MessagesState) -> dict[str, Any]:
        await silent.ainvoke("harmless?", {"tags": ["nostream"]})
        return {}

    events = await run_of(url, chain(judge=judge, writer=saying("text")))
    assert spoken(events) == {"1.2": "text"}
    assert of_type(events, AgentComplete)[0].usage == Usage(
        input_tokens=3, output_tokens=1, total_tokens=4
    )


async def test_usage_and_finish_reason_add_up_over_the_calls_of_a_span(url: str) -> None:
    def end(reason: str) -> AIMessageChunk:
        counted = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
        return AIMessageChunk(
            "", usage_metadata=counted, response_metadata={"finish_reason": reason}
        )

    model = ScriptedModel(turns=[["a", end("length")], ["b", end("stop")]])

    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke("x"), await model.ainvoke("y")]}

    events = await run_of(url, chain(node=node))
    total = Usage(input_tokens=10, output_tokens=4, total_tokens=14)
    complete = of_type(events, AgentComplete)[0]
    assert (complete.text, complete.usage, complete.finish_reason) == ("a\n\nb", total, "stop")
    assert events[-1].usage == total


def thinking(thought: str, text: str = "") -> AIMessageChunk:
    return AIMessageChunk(text, additional_kwargs={"reasoning_content": thought})


async def test_reasoning_has_its_own_channel_and_is_no_part_of_the_text(url: str) -> None:
    blocks = AIMessageChunk([{"type": "thinking", "thinking": "so. ", "index": 0}])
    assert about_agents(await run_of(url, chain(node=saying(thinking("hm, "), blocks, "Yes")))) == [
        AgentStart(span="1.1", agent="node"),
        AgentChunk(span="1.1", agent="node", text="hm, so. ", channel="reasoning"),
        AgentChunk(span="1.1", agent="node", text="Yes"),
        AgentComplete(span="1.1", agent="node", text="Yes"),
    ]


async def test_reasoning_in_the_same_piece_as_text_is_not_lost(url: str) -> None:
    events = await run_of(url, chain(node=saying(thinking("hm", "Yes"))))
    assert [
        chunk.text for chunk in of_type(events, AgentChunk) if chunk.channel == "reasoning"
    ] == ["hm"]


async def test_text_in_content_blocks_streams_like_any_other(url: str) -> None:
    block = AIMessageChunk([{"type": "text", "text": "a", "index": 0}])
    assert spoken(await run_of(url, chain(node=saying(block, "b")))) == {"1.1": "ab"}


async def test_a_model_asked_again_after_it_failed_supersedes_what_it_had_said(url: str) -> None:
    model = ScriptedModel(turns=[["half ", ValueError("broken off")], ["whole ", "text"]])

    async def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.with_retry(wait_exponential_jitter=False).ainvoke("x")]}

    assert about_agents(await run_of(url, chain(node=node))) == [
        AgentStart(span="1.1", agent="node"),
        AgentChunk(span="1.1", agent="node", text="half "),
        msgspec.structs.replace(no_answer(3, "node", ("1.1", 0)), reason="model_retry"),
        AgentChunk(span="1.1", agent="node", text="whole text", part=1),
        AgentComplete(
            span="1.1",
            agent="node",
            text="whole text",
            usage=Usage(output_tokens=1, total_tokens=1),
        ),
    ]


async def test_a_retried_call_takes_back_only_what_it_had_said_itself(url: str) -> None:
    model = ScriptedModel(turns=[["one "], ["tw", ValueError("broken off")], ["two"]])

    async def node(state: MessagesState) -> dict[str, Any]:
        first = await model.ainvoke("x")
        second = await model.with_retry(wait_exponential_jitter=False).ainvoke("y")
        return {"messages": [AIMessage(first.text + second.text)]}

    assert spoken(await run_of(url, chain(node=node))) == {"1.1": "one two"}


async def test_a_lone_surrogate_in_a_models_text_does_not_fail_the_run(url: str) -> None:
    async with opened(url, chain(node=saying("a\ud800b")), max_attempts=1) as engine:
        assert isinstance(await (await engine.start("hello")).wait(), RunComplete)


class Blocking(BaseChatModel):
    """Streams without a loop of its own: the next word whenever `go` is set."""

    go: Any
    hurry: bool = False

    @property
    def _llm_type(self) -> str:
        return "blocking"

    def _generate(self, *args: Any, **options: Any) -> Any:
        raise NotImplementedError

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **options: Any
    ) -> Iterator[ChatGenerationChunk]:
        for word in ("one ", "two ", "three ", "four"):
            yield ChatGenerationChunk(message=AIMessageChunk(word))
            if not self.hurry:
                self.go.wait()
                self.go.clear()


async def test_a_node_that_blocks_in_a_thread_streams_too(url: str) -> None:
    model = Blocking(go=Event())

    def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async with opened(url, chain(node=node)) as engine:
        run = await engine.start("hello")
        for word in ("one", "two", "three", "four"):
            await reach_text(run, word)
            model.go.set()
        assert await run.text() == "one two three four"


async def test_a_node_that_blocks_in_a_thread_is_recorded_in_the_loops_own(url: str) -> None:
    model, threads = Blocking(go=Event(), hurry=True), set()

    def node(state: MessagesState) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"])]}

    async with opened(
        url, chain(node=node), observe=lambda name, value: threads.add(current_thread())
    ) as engine:
        await (await engine.start("hello")).wait()
    assert threads == {current_thread()}


# -- what a graph itself says ----------------------------------------------------------------------


async def test_what_a_stream_writer_writes_is_recorded_by_its_type(url: str) -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        write = get_stream_writer()
        write({"type": "sighting", "bird": "blackbird", "by": object()})
        write("plain")
        write({"type": "progress", "value": 0.4, "stage": "generating", "message": "half way"})
        return {"messages": [AIMessage("hi")]}

    events = await run_of(url, chain(node=node))
    assert of_type(events, Custom) == [
        Custom(name="sighting", value={"type": "sighting", "bird": "blackbird", "by": "<object>"}),
        Custom(name="custom", value="plain"),
    ]
    assert Progress(value=0.4, stage="generating", message="half way") in events


async def test_dispatched_events_are_canonical_where_they_fit_and_custom_where_not(
    url: str,
) -> None:
    async def node(state: MessagesState) -> dict[str, Any]:
        await adispatch_custom_event(
            "progress", {"value": 0.6, "stage": "generating", "message": "on"}
        )
        await adispatch_custom_event(
            "progress", {"value": 0.2, "stage": "generating", "message": "back"}
        )
        await adispatch_custom_event("progress", {"value": "much"})
        await adispatch_custom_event("run_complete", {"text": "not yours"})
        await adispatch_custom_event("agent_chunk", {"text": "spoken "})
        await adispatch_custom_event("agent_chunk", {"text": "by hand"})
        return {}

    events = await run_of(url, chain(node=node))
    assert of_type(events, Progress)[1:3] == [
        Progress(value=0.6, stage="generating", message="on"),
        Progress(value=0.6, stage="generating", message="back"),
    ]
    assert of_type(events, Custom) == [
        Custom(name="progress", value={"value": "much"}),
        Custom(name="run_complete", value={"text": "not yours"}),
    ]
    assert spoken(events) == {"1.1": "spoken by hand"}
    assert events[-1].text == "spoken by hand"


# -- failures --------------------------------------------------------------------------------------


def failing(*pieces: str, error: Exception) -> Any:
    return asking(ScriptedModel(turns=[[*pieces, error]] * 3))


async def test_a_node_that_fails_ends_the_run_with_a_clean_error_and_the_text_so_far(
    url: str,
) -> None:
    events = await run_of(url, chain(node=failing("half", error=ValueError("secret"))))
    assert about_agents(events)[2:] == [
        AgentError(
            span="1.1",
            agent="node",
            code="AGENT_FAILED",
            message="An agent failed.",
            recoverable=False,
        )
    ]
    partial = of_type(events, MessageSaved)[1].message
    assert (partial.content, partial.partial) == ("half", True)
    assert events[-1] == RunError(
        code="AGENT_FAILED",
        message="An agent failed.",
        retryable=False,
        partial_message_id=partial.id,
        partial_text="half",
    )
    assert b"secret" not in b"".join(map(encode, events))


async def test_a_node_retried_after_it_spoke_supersedes_its_first_text(url: str) -> None:
    model = ScriptedModel(turns=[["half", ValueError("x")], ["whole ", "text"]])
    events = await run_of(url, chain(node=(asking(model), {"retry_policy": AT_ONCE})))
    superseded = of_type(events, RunAttempt)
    assert [(event.reason, event.supersedes.spans) for event in superseded] == [
        ("agent_failed", ["1.1"])
    ]
    assert [event for event in about_agents(events) if not isinstance(event, RunAttempt)] == [
        AgentStart(span="1.1", agent="node"),
        AgentChunk(span="1.1", agent="node", text="half"),
        AgentError(
            span="1.1",
            agent="node",
            code="AGENT_FAILED",
            message="An agent failed.",
            recoverable=True,
        ),
        AgentStart(span="1.2", agent="node"),
        AgentChunk(span="1.2", agent="node", text="whole text"),
        AgentComplete(span="1.2", agent="node", text="whole text"),
    ]
    assert shown_answer(events) == events[-1].text == "whole text"


async def test_a_drafting_node_retried_after_it_spoke_supersedes_its_first_draft(url: str) -> None:
    model = ScriptedModel(turns=[["half", ValueError("x")], ["whole"]])
    events = await run_of(
        url, chain(drafts=(asking(model), {"retry_policy": AT_ONCE}), writes=saying("answer"))
    )
    assert [event.reason for event in of_type(events, RunAttempt)] == ["agent_failed", NO_ANSWER]
    assert spoken(events) == {"1.1": "", "1.2": "", "1.3": "answer"}


async def test_the_last_try_of_a_node_is_not_recoverable_and_its_text_stays(url: str) -> None:
    policy = RetryPolicy(max_attempts=2, initial_interval=0.0, jitter=False, retry_on=ValueError)
    events = await run_of(
        url, chain(node=(failing("half", error=ValueError("x")), {"retry_policy": policy}))
    )
    assert [error.recoverable for error in of_type(events, AgentError)] == [True, False]
    assert events[-1].partial_text == "half"


async def test_an_error_that_no_policy_is_about_is_not_recoverable(url: str) -> None:
    events = await run_of(
        url, chain(node=(failing("half", error=KeyError("x")), {"retry_policy": AT_ONCE}))
    )
    assert [error.recoverable for error in of_type(events, AgentError)] == [False]
    assert events[-1].partial_text == "half"


async def test_a_failure_inside_a_retried_subgraph_is_recoverable(url: str) -> None:
    model = ScriptedModel(turns=[[ValueError("x")], ["fine"]])
    events = await run_of(
        url, chain(outer=(chain("inner", node=asking(model)), {"retry_policy": AT_ONCE}))
    )
    assert isinstance(events[-1], RunComplete)
    assert [error.recoverable for error in of_type(events, AgentError)] == [True, True]


async def test_a_node_with_an_error_handler_fails_recoverably(url: str) -> None:
    async def handled(state: MessagesState, error: NodeError) -> Command[str]:
        return Command(goto="rescue")

    graph = StateGraph(MessagesState)
    graph.add_node(
        "node",
        failing("half", error=ValueError("x")),
        error_handler=handled,
        destinations=("rescue",),
    )
    graph.add_node("rescue", saying("saved"))
    graph.add_edge(START, "node")
    events = await run_of(url, graph.compile(name="rescued"))
    assert [error.recoverable for error in of_type(events, AgentError)] == [True]
    assert shown_answer(events) == events[-1].text == "saved"


async def test_a_branch_that_fails_cancels_the_others_and_ends_the_run_once(url: str) -> None:
    def graph(name: str) -> Any:
        spoke = asyncio.Event()

        async def fails(state: MessagesState) -> Any:
            await spoke.wait()
            raise ValueError("x")

        return side_by_side(name, left=saying("left ", spoke.set, asyncio.Event()), right=fails)

    names = [
        f"graph{number}" for number in range(6)
    ]  # the order of commits decides, so more than once
    async with opened(url, *map(graph, names)) as engine:
        runs = [await engine.start("hello", graph=name) for name in names]
        for run in runs:
            completes = of_type(await events_of(run), AgentComplete)
            assert [(event.agent, event.finish_reason) for event in completes] == [
                ("left", "failed")
            ]
            assert await run.status() == "failed"


async def test_an_agent_that_its_node_gave_up_is_closed(url: str) -> None:
    spoke = asyncio.Event()
    slow = chain("inner", slow=saying("wait ", spoke.set, asyncio.Event()))

    async def impatient(state: MessagesState) -> dict[str, Any]:
        asked = asyncio.create_task(slow.ainvoke(state))
        await spoke.wait()
        asked.cancel()
        await asyncio.wait([asked])
        return {"messages": [AIMessage("without it")]}

    events = await run_of(url, chain(impatient=impatient))
    assert [event.agent for event in of_type(events, AgentComplete)] == ["slow", "impatient"]
    assert events[-1].text == "without it"


async def test_a_graph_that_never_ends_is_stopped(url: str) -> None:
    async def again(state: MessagesState) -> Command[str]:
        return Command(goto="again")

    endless = chain(again=(again, {"destinations": ("again",)}))
    events = await run_of(url, endless.with_config(recursion_limit=40))
    assert events[-1].code == "RECURSION_LIMIT"


async def test_a_hand_over_to_the_parent_graph_is_no_interruption(url: str) -> None:
    async def hands_over(state: MessagesState) -> Command[str]:
        return Command(
            graph=Command.PARENT, goto="other", update={"messages": [AIMessage("over to you")]}
        )

    graph = StateGraph(MessagesState)
    graph.add_node("inner", chain("sub", hands_over=hands_over), destinations=("other",))
    graph.add_node("other", saying("thanks"))
    graph.add_edge(START, "inner")
    events = await run_of(url, graph.compile(name="swarm"))
    assert events[-1].text == "thanks"
    assert {complete.finish_reason for complete in of_type(events, AgentComplete)} == {None}


# -- reading an answer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        ({"messages": [AIMessage("a"), AIMessage("b")]}, "b"),
        ({"messages": AIMessage("one")}, "one"),
        ({"messages": [AIMessage([{"type": "text", "text": "in blocks"}])]}, "in blocks"),
        ({"answer": "by key"}, "by key"),
        ({"answer": 7, "result": "another key"}, "another key"),
        (Command(update={"response": "in a command"}), "in a command"),
        ([Command(goto="x"), {"output": "in a list"}], "in a list"),
        ("text", "text"),
        ({"question": "mine"}, ""),
        (None, ""),
        (7, ""),
    ],
)
def test_the_answer_is_found_in_what_graphs_usually_return(outputs: Any, text: str) -> None:
    assert reply_text(outputs) == text
