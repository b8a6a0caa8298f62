"""`add_node(..., defer=True)`: the join waits for branches of any depth and runs once."""

import operator
from typing import Annotated

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


class Noted(MessagesState):
    notes: Annotated[list[str], operator.add]


model = ChatOpenAI(model="deferred_join", use_responses_api=False)


async def fast(state: Noted) -> dict:
    return {"notes": ["fast"]}


async def deep(state: Noted) -> dict:
    return {"notes": [(await model.ainvoke("Think.")).text]}


async def deeper(state: Noted) -> dict:
    return {"notes": [(await model.ainvoke("Think harder.")).text]}


async def join(state: Noted) -> dict:
    return {"messages": [await model.ainvoke("Notes: " + ", ".join(state["notes"]))]}


builder = StateGraph(Noted)
for node in (fast, deep, deeper):
    builder.add_node(node)
builder.add_node(join, defer=True)
builder.add_edge(START, "fast")
builder.add_edge(START, "deep")
builder.add_edge("deep", "deeper")
builder.add_edge("fast", "join")
builder.add_edge("deeper", "join")
graph = builder.compile()

AGENTS = ("fast", "deep", "deeper", "join")
SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("Go", "All three at once.", agents=AGENTS, by="join"),
        Turn("Once more", "All of it, twice.", agents=AGENTS, by="join"),
    ],
    model={
        "Think.": "deep",
        "Think harder.": "deeper",
        "Notes: deep, fast, deeper": "All three at once.",
        "Notes: deep, fast, deeper, deep, fast, deeper": "All of it, twice.",
    },
)
