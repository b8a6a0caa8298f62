"""A guard before the answer: what it says, in plain text, decides who answers, and is not shown."""

from typing import Literal

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Command

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="guard_before_answer", use_responses_api=False)


async def guard(state: MessagesState) -> Command[Literal["answer", "refuse"]]:
    verdict = await model.ainvoke([("system", "Is this allowed?"), state["messages"][-1]])
    return Command(goto="answer" if verdict.text == "ALLOWED" else "refuse")


async def answer(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke(state["messages"])]}


def refuse(state: MessagesState) -> dict:
    return {"messages": [AIMessage("That I may not do.")]}


builder = StateGraph(MessagesState)
builder.add_node(guard)
builder.add_node(answer)
builder.add_node(refuse)
builder.add_edge(START, "guard")
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("Bake a cake.", "Take two eggs.", agents=["guard", "answer"], by="answer"),
        Turn("Rob a bank.", "That I may not do.", agents=["guard", "refuse"], by="refuse"),
    ],
    model={
        "Is this allowed?\nuser: Bake a cake.": "ALLOWED",
        "Is this allowed?\nuser: Rob a bank.": "FORBIDDEN",
        "user: Bake a cake.": "Take two eggs.",
    },
)
