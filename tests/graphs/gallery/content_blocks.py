"""Answers made of content blocks (thoughts, texts, an image): the texts are the answer."""

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///ywAAAAAAQABAAACAUwAOw=="


def paint(state: MessagesState) -> dict:
    blocks = [
        {"type": "thinking", "thinking": "A dot will do.", "signature": "x"},
        {"type": "text", "text": "Here is "},
        {"type": "image_url", "image_url": {"url": PIXEL}},
        {"type": "text", "text": f"your {state['messages'][-1].text}."},
    ]
    return {"messages": [AIMessage(content=blocks)]}


builder = StateGraph(MessagesState)
builder.add_node(paint)
builder.add_edge(START, "paint")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[
        Turn("cat", "Here is your cat.", agents=["paint"], by="paint"),
        Turn("dog", "Here is your dog.", agents=["paint"], by="paint"),
    ],
)
