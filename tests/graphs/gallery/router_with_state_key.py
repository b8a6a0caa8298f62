"""A classifier that leaves its choice in the state, here under `route`, and an edge that
reads it.
"""

from typing import Literal

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Ticket(TypedDict):
    """Which desk a message is for."""

    desk: Literal["billing", "support"]


class Desks(MessagesState):
    route: str
    answered_by: int


model = ChatOpenAI(model="router_with_state_key", use_responses_api=False)


def classify(state: Desks) -> dict:
    ticket = model.with_structured_output(Ticket).invoke(state["messages"])
    return {"route": ticket["desk"]}


def billing(state: Desks) -> dict:
    return {"messages": [AIMessage("You owe us nothing.")], "answered_by": 7}


def support(state: Desks) -> dict:
    return {"messages": [model.invoke([("system", "You help."), *state["messages"]])]}


builder = StateGraph(Desks)
builder.add_node(classify)
builder.add_node(billing)
builder.add_node(support)
builder.add_edge(START, "classify")
builder.add_conditional_edges("classify", lambda state: state["route"], ["billing", "support"])
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("My bill?", "You owe us nothing.", agents=["classify", "billing"], by="billing"),
        Turn("It is broken.", "Turn it on.", agents=["classify", "support"], by="support"),
    ],
    model={
        "You help. ... user: It is broken.": "Turn it on.",
        "user: My bill?": {"desk": "billing"},
        "user: It is broken.": {"desk": "support"},
    },
)
