"""Reflection: a writer and a critic in a loop. The critic speaks last, but the answer is the
writer's.
"""

from typing import Literal

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="reflection", use_responses_api=False)


async def write(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke([("system", "You write."), *state["messages"]])]}


async def criticise(state: MessagesState) -> Command[Literal["write", "__end__"]]:
    critique = await model.ainvoke([("system", "You criticise."), *state["messages"]])
    if critique.text == "Good.":
        return Command(goto=END)
    return Command(goto="write", update={"messages": [HumanMessage(critique.text)]})


builder = StateGraph(MessagesState)
builder.add_node(write)
builder.add_node(criticise)
builder.add_edge(START, "write")
builder.add_edge("write", "criticise")
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    turns=[
        Turn(
            "A line on tea",
            "Steam climbs from the cup, a small grey cat.",
            agents=["write", "criticise"],
            by="write",
        ),
        Turn("And on milk", "White as a page.", agents=["write", "criticise"], by="write"),
    ],
    model={
        "write. ... user: A line on tea": "Tea is hot.",
        "criticise. ... assistant: Tea is hot.": "Too plain.",
        "write. ... user: Too plain.": "Steam climbs from the cup, a small grey cat.",
        "criticise. ... a small grey cat.": "Good.",
        "write. ... user: And on milk": "White as a page.",
        "criticise. ... White as a page.": "Good.",
    },
)
