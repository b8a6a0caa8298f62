"""Two branches in parallel and a join that waits for both: only the join answers."""

import operator
from typing import Annotated

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


class Weighed(MessagesState):
    notes: Annotated[list[str], operator.add]


model = ChatOpenAI(model="parallel_branches_join", use_responses_api=False)


async def pros(state: Weighed) -> dict:
    reply = await model.ainvoke([("system", "For it."), state["messages"][-1]])
    return {"notes": [reply.text]}


async def cons(state: Weighed) -> dict:
    reply = await model.ainvoke([("system", "Against it."), state["messages"][-1]])
    return {"notes": [reply.text]}


async def weigh(state: Weighed) -> dict:
    notes = " ".join(state["notes"][-2:])
    return {"messages": [await model.ainvoke([("system", notes), *state["messages"]])]}


builder = StateGraph(Weighed)
builder.add_node(pros)
builder.add_node(cons)
builder.add_node(weigh)
builder.add_edge(START, "pros")
builder.add_edge(START, "cons")
builder.add_edge(["pros", "cons"], "weigh")
graph = builder.compile()

AGENTS = ("pros", "cons", "weigh")
SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("A dog?", "A small one, then.", agents=AGENTS, by="weigh"),
        Turn("A cat?", "Rather a cat.", agents=AGENTS, by="weigh"),
    ],
    model={
        "For it.\nuser: A dog?": "It is loyal.",
        "Against it.\nuser: A dog?": "It is loud.",
        "system: It is loud. It is loyal.\nuser: A dog?": "A small one, then.",
        "For it.\nuser: A cat?": "It is quiet.",
        "Against it.\nuser: A cat?": "It is proud.",
        "system: It is proud. It is quiet. ... A small one, then.\nuser: A cat?": "Rather a cat.",
    },
)
