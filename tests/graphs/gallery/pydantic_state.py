"""A pydantic model as the state; LangGraph checks what goes in."""

from typing import Annotated

from langchain_core.messages import AnyMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, StateGraph, add_messages
from pydantic import BaseModel, Field

from tests.graphs.example import Example, Turn


class Mood(BaseModel):
    """What the graph knows."""

    messages: Annotated[list[AnyMessage], add_messages]
    turns: int = Field(default=0, ge=0)


model = ChatOpenAI(model="pydantic_state", use_responses_api=False)


async def talk(state: Mood) -> dict:
    asked = [("system", f"Turn {state.turns}."), *state.messages]
    return {"messages": [await model.ainvoke(asked)], "turns": state.turns + 1}


builder = StateGraph(Mood)
builder.add_node(talk)
builder.add_edge(START, "talk")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[
        Turn("Hello", "Hello at zero.", agents=["talk"], by="talk"),
        Turn("Hello", "Hello at one.", agents=["talk"], by="talk"),
    ],
    model={
        "Turn 0. ... user: Hello": "Hello at zero.",
        "Turn 1. ... user: Hello": "Hello at one.",
    },
)
