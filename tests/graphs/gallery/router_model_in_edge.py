"""A conditional edge whose function asks a model: what is said inside an edge is never the
answer.
"""

from typing import Literal

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="router_model_in_edge", use_responses_api=False)


async def choose(state: MessagesState) -> Literal["poet", "chemist"]:
    choice = await model.ainvoke([("system", "Poet or chemist?"), state["messages"][-1]])
    return "poet" if "poet" in choice.text else "chemist"


async def poet(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke([("system", "You rhyme."), *state["messages"]])]}


async def chemist(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke([("system", "You mix."), *state["messages"]])]}


builder = StateGraph(MessagesState)
builder.add_node(poet)
builder.add_node(chemist)
builder.add_conditional_edges(START, choose)
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("A song of salt", "Salt, my fault.", agents=["poet"], by="poet"),
        Turn("And what is it?", "Sodium chloride.", agents=["chemist"], by="chemist"),
    ],
    model={
        "Poet or chemist?\nuser: A song of salt": "The poet, I think.",
        "Poet or chemist?\nuser: And what is it?": "The chemist.",
        "You rhyme. ... user: A song of salt": "Salt, my fault.",
        "You mix. ... Salt, my fault.\nuser: And what is it?": "Sodium chloride.",
    },
)
