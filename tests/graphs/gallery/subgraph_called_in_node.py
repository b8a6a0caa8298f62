"""A graph with a state of its own that a plain function calls with `.invoke`."""

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Verse(TypedDict, total=False):
    topic: str
    text: str


model = ChatOpenAI(model="subgraph_called_in_node", use_responses_api=False)


def verse(state: Verse) -> dict:
    return {"text": model.invoke(f"A verse on {state['topic']}").text}


inner = StateGraph(Verse)
inner.add_node(verse)
inner.add_edge(START, "verse")
poem = inner.compile()


def poet(state: MessagesState) -> dict:
    made = poem.invoke({"topic": state["messages"][-1].text})
    return {"messages": [AIMessage(made["text"])]}


builder = StateGraph(MessagesState)
builder.add_node(poet)
builder.add_edge(START, "poet")
graph = builder.compile()

SHOWS = Example(
    family="Subgraphs",
    turns=[
        Turn("tea", "Tea for me.", agents=["poet", "verse"]),
        Turn("milk", "Milk like silk.", agents=["poet", "verse"]),
    ],
    model={"A verse on tea": "Tea for me.", "A verse on milk": "Milk like silk."},
)
