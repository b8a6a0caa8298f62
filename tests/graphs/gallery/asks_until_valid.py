"""Several `interrupt()`s in one node, in a loop: it asks again until the answer is a number."""

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tests.graphs.example import Example, Turn


def ask(state: MessagesState) -> dict:
    question = "How old are you?"
    while not (answer := interrupt(question)).isdecimal():
        question = f"{answer!r} is no number. How old are you?"
    return {"messages": [AIMessage(f"Next year you will be {int(answer) + 1}.")]}


builder = StateGraph(MessagesState)
builder.add_node(ask)
builder.add_edge(START, "ask")
graph = builder.compile()

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Hello", asks=["How old are you?"], agents=["ask"]),
        Turn("old", asks=["'old' is no number."], agents=["ask"]),
        Turn("41", "Next year you will be 42.", agents=["ask"], by="ask"),
    ],
)
