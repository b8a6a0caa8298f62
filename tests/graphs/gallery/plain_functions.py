"""A graph of plain functions without any model, with a question and an answer in its state."""

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Sum(TypedDict, total=False):
    question: str
    numbers: list[int]
    answer: str


def read(state: Sum) -> dict:
    return {"numbers": [int(word) for word in state["question"].split() if word.isdecimal()]}


async def add(state: Sum) -> dict:
    return {"answer": f"The sum is {sum(state['numbers'])}."}


builder = StateGraph(Sum).add_sequence([read, add])
builder.add_edge(START, "read")
graph = builder.compile()

SHOWS = Example(
    family="State",
    takes="question",
    turns=[
        Turn("What is 2 and 3 ?", "The sum is 5.", agents=["read", "add"], by="add"),
        Turn("And 40 with 2 ?", "The sum is 42.", agents=["read", "add"], by="add"),
    ],
)
