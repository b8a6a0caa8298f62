"""Branches of unequal depth with plain edges: the join runs twice, and its second text is the
answer.
"""

import operator
from typing import Annotated

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


class Noted(MessagesState):
    notes: Annotated[list[str], operator.add]


model = ChatOpenAI(model="parallel_unequal_depth", use_responses_api=False)


def fast(state: Noted) -> dict:
    return {"notes": ["fast"]}


def deep(state: Noted) -> dict:
    return {}


def deeper(state: Noted) -> dict:
    return {"notes": ["deep"]}


async def join(state: Noted) -> dict:
    return {"messages": [await model.ainvoke("Notes: " + ", ".join(state["notes"]))]}


builder = StateGraph(Noted)
for node in (fast, deep, deeper, join):
    builder.add_node(node)
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
        Turn("Go", "Fast, and then deep.", agents=AGENTS, by="join"),
        Turn("Once more", "Both, twice.", agents=AGENTS, by="join"),
    ],
    model={
        "Notes: fast": "Only fast so far.",
        "Notes: fast, deep": "Fast, and then deep.",
        "Notes: fast, deep, fast": "Fast again.",
        "Notes: fast, deep, fast, deep": "Both, twice.",
    },
)
