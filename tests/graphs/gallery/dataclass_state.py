"""Dataclasses as state and as input, with defaults."""

from dataclasses import dataclass, field
from typing import Annotated

from langchain_core.messages import AnyMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph, add_messages

from tests.graphs.example import Example, Turn


@dataclass
class InputState:
    """What comes from outside."""

    messages: Annotated[list[AnyMessage], add_messages] = field(default_factory=list)


@dataclass
class State(InputState):
    """All that the graph knows."""

    seen: set[str] = field(default_factory=set)


model = ChatOpenAI(model="dataclass_state", use_responses_api=False)


def talk(state: State) -> dict:
    seen = state.seen | {state.messages[-1].text}
    asked = [("system", f"Seen: {', '.join(sorted(seen))}."), *state.messages]
    return {"messages": [model.invoke(asked)], "seen": seen}


builder = StateGraph(State, input_schema=InputState)
builder.add_node(talk)
builder.add_edge(START, "talk")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[
        Turn("tea", "Only tea.", agents=["talk"], by="talk"),
        Turn("milk", "Milk and tea.", agents=["talk"], by="talk"),
    ],
    model={
        "Seen: tea.\nuser: tea": "Only tea.",
        "Seen: milk, tea. ... user: milk": "Milk and tea.",
    },
)
