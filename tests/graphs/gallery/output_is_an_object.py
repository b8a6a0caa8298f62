"""An output schema of several fields and no text to choose: the answer is the whole object as
JSON.
"""

from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Given(TypedDict):
    text: str


class Counts(TypedDict):
    words: int
    letters: dict[str, int]


class Whole(Given, Counts):
    pass


def count(state: Given) -> dict:
    text = state["text"]
    return {"words": len(text.split()), "letters": {one: text.count(one) for one in "ae"}}


builder = StateGraph(Whole, input_schema=Given, output_schema=Counts)
builder.add_node(count)
builder.add_edge(START, "count")
graph = builder.compile()

SHOWS = Example(
    family="State",
    takes="text",
    turns=[
        Turn("a tea", {"words": 2, "letters": {"a": 2, "e": 1}}, agents=["count"], by="count"),
        Turn("beer", {"words": 1, "letters": {"a": 0, "e": 2}}, agents=["count"], by="count"),
    ],
)
