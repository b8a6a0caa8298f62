"""Two nodes side by side that both ask: an answer is for one of them, the other one goes on
waiting.
"""

import operator
from typing import Annotated

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tests.graphs.example import Example, Turn


class Order(MessagesState):
    parts: Annotated[list[str], operator.add]


def drink(state: Order) -> dict:
    return {"parts": [interrupt("What to drink?")]}


def food(state: Order) -> dict:
    return {"parts": [interrupt("What to eat?")]}


def order(state: Order) -> dict:
    return {"messages": [AIMessage("Ordered: " + ", ".join(state["parts"]) + ".")]}


builder = StateGraph(Order)
for node in (drink, food, order):
    builder.add_node(node)
builder.add_edge(START, "drink")
builder.add_edge(START, "food")
builder.add_edge(["drink", "food"], "order")
graph = builder.compile()

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Hello", asks=["What to drink?", "What to eat?"], agents=["drink", "food"]),
        Turn("tea", asks=["What to eat?"], agents=["drink", "food"]),
        Turn("cake", "Ordered: tea, cake.", agents=["food", "order"], by="order"),
    ],
)
