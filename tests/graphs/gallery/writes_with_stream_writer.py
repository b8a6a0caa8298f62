"""`get_stream_writer()`: what a node writes is an event of its own in the log."""

from langchain_core.messages import AIMessage
from langgraph.config import get_stream_writer
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


async def look_up(state: MessagesState) -> dict:
    write = get_stream_writer()
    for number in range(2):
        write({"type": "looking", "shelf": number})
    return {"messages": [AIMessage("It is on shelf 1.")]}


builder = StateGraph(MessagesState)
builder.add_node(look_up)
builder.add_edge(START, "look_up")
graph = builder.compile()

SHOWS = Example(
    family="Streams of one's own",
    turns=[
        Turn("Where is my book?", "It is on shelf 1.", agents=["look_up"], custom=["looking"]),
        Turn("And the pen?", "It is on shelf 1.", agents=["look_up"], custom=["looking"]),
    ],
)
