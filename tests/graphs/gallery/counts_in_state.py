"""A counter in the state: it goes on from turn to turn, as the checkpoint of a thread does."""

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


class Counted(MessagesState):
    step: int


def count(state: Counted) -> dict:
    step = state.get("step", 0) + 1
    return {"step": step, "messages": [AIMessage(f"Step {step}.")]}


builder = StateGraph(Counted)
builder.add_node(count)
builder.add_edge(START, "count")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[Turn("Go", f"Step {n}.", agents=["count"], by="count") for n in (1, 2, 3)],
)
