"""A compiled graph as a node of another one, on the same `messages`."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="subgraph_with_same_state", use_responses_api=False)


async def write(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke([("system", "You write."), *state["messages"]])]}


team = StateGraph(MessagesState)
team.add_node(write)
team.add_edge(START, "write")

builder = StateGraph(MessagesState)
builder.add_node("team", team.compile())
builder.add_edge(START, "team")
graph = builder.compile()

SHOWS = Example(
    family="Subgraphs",
    turns=[
        Turn("A word on tea", "Tea!", agents=["team", "write"], by="write"),
        Turn("Another", "Leaf!", agents=["team", "write"], by="write"),
    ],
    model={
        "You write.\nuser: A word on tea": "Tea!",
        "You write. ... assistant: Tea!\nuser: Another": "Leaf!",
    },
)
