"""The fakes that are shipped for tests of users' graphs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.types import interrupt

from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.events import Interrupt, RunComplete, RunError, RunStart, ToolComplete
from antiphon.orchestrator.opening import open_engine
from antiphon.orchestrator.testing import ScriptedModel, events_of, fixed_clock, tool_call
from tests.orchestrator.support import asking, chain


@tool
def weather(city: str) -> str:
    """Tell the weather."""
    return f"{city}: rain"


def texts(events: list[Any]) -> str:
    return "".join(event.text for event in events if event.type == "agent_chunk")


async def test_a_graph_is_run_as_it_is_served() -> None:
    model = ScriptedModel(turns=[["It is ", "red."]])
    events = await events_of(chain(talk=asking(model)), "Which colour is it?")
    assert isinstance(events[0], RunStart)
    assert isinstance(events[-1], RunComplete)
    assert (events[-1].text, texts(events)) == ("It is red.", "It is red.")


async def test_an_agent_calls_its_tools() -> None:
    model = ScriptedModel(turns=[[tool_call("weather", "1", city="Kiel")], ["It rains."]])
    events = await events_of(create_agent(model, [weather], name="forecaster"), "Kiel?")
    assert [event.output for event in events if isinstance(event, ToolComplete)] == ["Kiel: rain"]
    assert events[-1].text == "It rains."


async def test_what_is_raised_fails_the_run() -> None:
    events = await events_of(chain(talk=asking(ScriptedModel(turns=[[ValueError("oops")]]))), "hi")
    assert isinstance(events[-1], RunError)


async def test_events_hold_the_model_and_functions_are_called() -> None:
    gate, called = asyncio.Event(), []
    model = ScriptedModel(turns=[["a", lambda: called.append(1), gate, "b"]])
    asyncio.get_running_loop().call_soon(gate.set)
    events = await events_of(chain(talk=asking(model)), "hi")
    assert (events[-1].text, called) == ("ab", [1])


async def test_a_question_ends_the_list() -> None:
    def ask(state: Any) -> Any:
        return {"messages": [("ai", interrupt("Really?"))]}

    events = await events_of(chain(ask=ask), "hi")
    assert isinstance(events[-1], Interrupt)


async def test_time_can_stand_still() -> None:
    async with open_engine("memory://", environment=Environment(clock=fixed_clock(5))) as engine:
        run = await engine.start("hi")
        assert {recorded.at async for recorded in run} == {5}


def test_it_streams_without_a_loop_as_well() -> None:
    pieces = [piece.content for piece in ScriptedModel(turns=[["a", "b"]]).stream("hi")]
    assert [piece for piece in pieces if piece] == ["a", "b"]
    assert ScriptedModel(turns=[["a", "b"]]).invoke("hi").text == "ab"
    with pytest.raises(IndexError):
        ScriptedModel(turns=[]).invoke("hi")
