"""`trim_messages` before the model: it sees the last messages only, the state keeps them all."""

from langchain_core.messages import trim_messages
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="trims_history", use_responses_api=False)


async def talk(state: MessagesState) -> dict:
    last = trim_messages(state["messages"], max_tokens=2, token_counter=len)
    asked = [("system", f"{len(state['messages'])} messages."), *last]
    return {"messages": [await model.ainvoke(asked)]}


builder = StateGraph(MessagesState)
builder.add_node(talk)
builder.add_edge(START, "talk")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[
        Turn("One", "First.", agents=["talk"], by="talk"),
        Turn("Two", "Second.", agents=["talk"], by="talk"),
        Turn("Three", "Third.", agents=["talk"], by="talk"),
    ],
    model={
        "system: 1 messages.\nuser: One": "First.",
        "system: 3 messages.\nassistant: First.\nuser: Two": "Second.",
        "system: 5 messages.\nassistant: Second.\nuser: Three": "Third.",
    },
)
