"""`adispatch_custom_event`: events of one's own, and `agent_chunk` to speak without a model."""

from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


async def speak(state: MessagesState) -> dict:
    await adispatch_custom_event("thinking", {"about": state["messages"][-1].text})
    words = ["Half ", "and ", "half."]
    for word in words:
        await adispatch_custom_event("agent_chunk", {"text": word})
    return {"messages": [AIMessage("".join(words))]}


builder = StateGraph(MessagesState)
builder.add_node(speak)
builder.add_edge(START, "speak")
graph = builder.compile()

SHOWS = Example(
    family="Streams of one's own",
    turns=[
        Turn("Tea or milk?", "Half and half.", agents=["speak"], by="speak", custom=["thinking"]),
        Turn("Sure?", "Half and half.", agents=["speak"], by="speak", custom=["thinking"]),
    ],
)
