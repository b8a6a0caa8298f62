"""`Command(graph=Command.PARENT)`: a node of a subgraph sends the run on to a node around it."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="subgraph_hands_up", use_responses_api=False)


async def clerk(state: MessagesState) -> Command:
    reply = await model.ainvoke([("system", "You are a clerk."), *state["messages"]])
    if reply.text == "I do not know.":
        return Command(graph=Command.PARENT, goto="manager")
    return Command(update={"messages": [reply]})


async def manager(state: MessagesState) -> dict:
    asked = [("system", "You are the manager."), *state["messages"]]
    return {"messages": [await model.ainvoke(asked)]}


desk = StateGraph(MessagesState)
desk.add_node(clerk)
desk.add_edge(START, "clerk")

builder = StateGraph(MessagesState)
builder.add_node("desk", desk.compile(), destinations=("manager",))
builder.add_node(manager)
builder.add_edge(START, "desk")
graph = builder.compile()

SHOWS = Example(
    family="Subgraphs",
    turns=[
        Turn("A refund?", "You have it.", agents=["desk", "clerk", "manager"], by="manager"),
        Turn("The time?", "Noon.", agents=["desk", "clerk"], by="clerk"),
    ],
    model={
        "clerk. ... user: A refund?": "I do not know.",
        "manager. ... user: A refund?": "You have it.",
        "clerk. ... user: The time?": "Noon.",
    },
)
