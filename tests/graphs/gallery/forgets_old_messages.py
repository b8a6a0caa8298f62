"""`RemoveMessage`: what a node takes out of the conversation stays out in the next turn."""

from langchain_core.messages import RemoveMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="forgets_old_messages", use_responses_api=False)


def talk(state: MessagesState) -> dict:
    return {"messages": [model.invoke(state["messages"])]}


def forget(state: MessagesState) -> dict:
    return {"messages": [RemoveMessage(id=message.id) for message in state["messages"][:-1]]}


builder = StateGraph(MessagesState).add_sequence([talk, forget])
builder.add_edge(START, "talk")
graph = builder.compile()

SHOWS = Example(
    family="State",
    turns=[
        Turn("I am Ada.", "Hello.", agents=["talk", "forget"], by="talk"),
        Turn("Who am I?", "I do not know.", agents=["talk", "forget"], by="talk"),
    ],
    model={
        "I am Ada. ... user: Who am I?": "You are Ada.",
        "assistant: Hello.\nuser: Who am I?": "I do not know.",
        "user: I am Ada.": "Hello.",
    },
)
