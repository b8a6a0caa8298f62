"""A guard as middleware: `before_agent` answers by itself and jumps to the end, without a model."""

from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import AgentState, before_agent
from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn


@before_agent(can_jump_to=["end"])
def no_secrets(state: AgentState, runtime: Any) -> dict | None:
    if "secret" not in state["messages"][-1].text:
        return None
    return {"messages": [AIMessage("I do not talk about secrets.")], "jump_to": "end"}


graph = create_agent(
    ChatOpenAI(model="middleware_ends_early", use_responses_api=False),
    [],
    middleware=[no_secrets],
    name="porter",
)

SHOWS = Example(
    family="Middleware",
    turns=[
        Turn("Tell me a secret.", "I do not talk about secrets.", agents=["porter"], by="porter"),
        Turn("Tell me the time.", "It is noon.", agents=["porter"], by="porter"),
    ],
    model={"I do not talk about secrets.\nuser: Tell me the time.": "It is noon."},
)
