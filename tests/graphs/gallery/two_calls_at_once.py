"""Two model calls at once in one node: their tokens come interleaved, each in a text of its own."""

import asyncio

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="two_calls_at_once", use_responses_api=False)


async def both(state: MessagesState) -> dict:
    asked = state["messages"][-1].text
    left, right = await asyncio.gather(
        model.ainvoke(f"In English: {asked}"), model.ainvoke(f"In German: {asked}")
    )
    return {"messages": [AIMessage(f"{left.text}\n\n{right.text}")]}


builder = StateGraph(MessagesState)
builder.add_node(both)
builder.add_edge(START, "both")
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    again=1,
    turns=[
        Turn("tea", "A cup of tea.\n\nEine Tasse Tee.", agents=["both"], by="both"),
        Turn("milk", "A glass of milk.\n\nEin Glas Milch.", agents=["both"], by="both"),
    ],
    model={
        "In English: tea": "A cup of tea.",
        "In German: tea": "Eine Tasse Tee.",
        "In English: milk": "A glass of milk.",
        "In German: milk": "Ein Glas Milch.",
    },
)
