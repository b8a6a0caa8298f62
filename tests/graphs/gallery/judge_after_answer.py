"""A judge after the answer: the last words of the run are its verdict, which is kept in the
state.
"""

from typing import NotRequired

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn


class Judged(MessagesState):
    verdict: NotRequired[str]


model = ChatOpenAI(model="judge_after_answer", use_responses_api=False)


async def answer(state: Judged) -> dict:
    return {"messages": [await model.ainvoke(state["messages"])]}


async def judge(state: Judged) -> dict:
    verdict = await model.ainvoke([("system", "Pass or fail?"), *state["messages"]])
    return {"verdict": verdict.text}


builder = StateGraph(Judged)
builder.add_node(answer)
builder.add_node(judge)
builder.add_edge(START, "answer")
builder.add_edge("answer", "judge")
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("Is tea a leaf?", "Yes, it is.", agents=["answer", "judge"], by="answer"),
        Turn("Is milk a leaf?", "No, it is not.", agents=["answer", "judge"], by="answer"),
    ],
    model={
        "Pass or fail? ... assistant: Yes, it is.": "PASS",
        "Pass or fail? ... assistant: No, it is not.": "PASS, if a bit short",
        "user: Is tea a leaf?": "Yes, it is.",
        "user: Is milk a leaf?": "No, it is not.",
    },
)
