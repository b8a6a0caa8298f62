"""A subgraph with `checkpointer=True` has a memory of its own from turn to turn."""

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Visits(TypedDict, total=False):
    who: str
    visits: int


def count(state: Visits) -> dict:
    return {"visits": state.get("visits", 0) + 1}


inner = StateGraph(Visits)
inner.add_node(count)
inner.add_edge(START, "count")
counter = inner.compile(checkpointer=True)


async def porter(state: MessagesState) -> dict:
    seen = await counter.ainvoke({"who": state["messages"][-1].text})
    return {"messages": [AIMessage(f"This is visit {seen['visits']}.")]}


builder = StateGraph(MessagesState)
builder.add_node(porter)
builder.add_edge(START, "porter")
graph = builder.compile()

SHOWS = Example(
    family="Subgraphs",
    turns=[
        Turn("Ada", "This is visit 1.", agents=["porter", "count"], by="porter"),
        Turn("Bob", "This is visit 2.", agents=["porter", "count"], by="porter"),
        Turn("Eve", "This is visit 3.", agents=["porter", "count"], by="porter"),
    ],
)
