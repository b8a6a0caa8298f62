"""Middleware with `before_model` and `after_model` hooks and a state of its own.

The hooks become nodes of the graph, but they are no agents: the agent streams, and it is the
author.
"""

from typing import Any, NotRequired

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, ModelRequest, dynamic_prompt
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn


class Counted(AgentState):
    calls: NotRequired[int]
    words: NotRequired[int]


class Counting(AgentMiddleware):
    """Counts the model's calls and words."""

    state_schema = Counted

    def before_model(self, state: Counted, runtime: Any) -> dict:
        return {"calls": state.get("calls", 0) + 1}

    async def aafter_model(self, state: Counted, runtime: Any) -> dict:
        return {"words": state.get("words", 0) + len(state["messages"][-1].text.split())}


@dynamic_prompt
def counted(request: ModelRequest) -> str:
    return f"Call {request.state['calls']}, {request.state.get('words', 0)} words so far."


graph = create_agent(
    ChatOpenAI(model="middleware_before_and_after_model", use_responses_api=False),
    [],
    middleware=[Counting(), counted],
    name="talker",
)

SHOWS = Example(
    family="Middleware",
    turns=[
        Turn("Hello", "Hello there.", agents=["talker"], by="talker"),
        Turn("Again", "Hello once more.", agents=["talker"], by="talker"),
    ],
    model={
        "system: Call 1, 0 words so far.\nuser: Hello": "Hello there.",
        "system: Call 2, 2 words so far. ... user: Again": "Hello once more.",
    },
)
