"""`configurable.thread_id` is the same in every turn of a conversation, and another in another
one.
"""

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


class Known(MessagesState):
    thread: str


def compare(state: Known, config: RunnableConfig) -> dict:
    thread, before = config["configurable"]["thread_id"], state.get("thread")
    words = {None: "A new conversation.", thread: "The same conversation."}
    answer = words.get(before, "Another conversation?")
    return {"thread": thread, "messages": [AIMessage(answer)]}


builder = StateGraph(Known)
builder.add_node(compare)
builder.add_edge(START, "compare")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[
        Turn("Hello", "A new conversation.", agents=["compare"], by="compare"),
        Turn("Again", "The same conversation.", agents=["compare"], by="compare"),
        Turn("Elsewhere", "A new conversation.", agents=["compare"], by="compare", fresh=True),
    ],
)
