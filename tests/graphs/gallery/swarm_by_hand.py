"""Hand-overs by hand: a desk that cannot help goes to the other by `Command`, which stays in
charge.
"""

from typing import Literal, NotRequired

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command

from tests.graphs.example import Example, Turn, call


class Desks(MessagesState):
    active: NotRequired[str]


@tool
def to_billing() -> str:
    """Hand over to the billing desk."""
    return "handed over"


model = ChatOpenAI(model="swarm_by_hand", use_responses_api=False)


async def front(state: Desks) -> Command[Literal["billing", "__end__"]]:
    asked = [("system", "You are the front desk."), *state["messages"]]
    reply = await model.bind_tools([to_billing]).ainvoke(asked)
    if reply.tool_calls:
        return Command(goto="billing", update={"active": "billing"})
    return Command(goto=END, update={"messages": [reply]})


async def billing(state: Desks) -> dict:
    reply = await model.ainvoke([("system", "You are billing."), *state["messages"]])
    return {"messages": [reply]}


builder = StateGraph(Desks)
builder.add_node(front)
builder.add_node(billing)
builder.add_conditional_edges(
    START, lambda state: state.get("active", "front"), ["front", "billing"]
)
graph = builder.compile()

SHOWS = Example(
    family="Many agents",
    turns=[
        Turn("My bill is wrong.", "Let me correct it.", agents=["front", "billing"], by="billing"),
        Turn("Thank you.", "It is done.", agents=["billing"], by="billing"),
    ],
    model={
        "front desk. ... user: My bill is wrong.": call("to_billing", saying="One moment."),
        "billing. ... user: My bill is wrong.": "Let me correct it.",
        "billing. ... user: Thank you.": "It is done.",
    },
)
