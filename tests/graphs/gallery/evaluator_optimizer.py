"""Evaluator and optimizer: a joke is written until a judge, by structured verdict, finds it
funny.
"""

from typing import Literal

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Verdict(BaseModel):
    """Whether a joke is funny, and what would make it better."""

    grade: Literal["funny", "not funny"]
    feedback: str = ""


class Joking(TypedDict, total=False):
    topic: str
    joke: str
    grade: str
    feedback: str


model = ChatOpenAI(model="evaluator_optimizer", use_responses_api=False)
judge = model.with_structured_output(Verdict)


def write(state: Joking) -> dict:
    hint = f" Mind: {state['feedback']}" if state.get("feedback") else ""
    return {"joke": model.invoke(f"A joke on {state['topic']}.{hint}").text}


def evaluate(state: Joking) -> dict:
    verdict = judge.invoke(f"Judge: {state['joke']}")
    return {"grade": verdict.grade, "feedback": verdict.feedback}


builder = StateGraph(Joking)
builder.add_node(write)
builder.add_node(evaluate)
builder.add_edge(START, "write")
builder.add_edge("write", "evaluate")
builder.add_conditional_edges(
    "evaluate", lambda state: END if state["grade"] == "funny" else "write", ["write", END]
)
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    takes="topic",
    turns=[
        Turn("cats", "A cat walks into a bar: mew.", agents=["write", "evaluate"], by="write"),
        Turn("dogs", "A dog walks into a bark.", agents=["write", "evaluate"], by="write"),
    ],
    model={
        "user: A joke on cats.": "Cats are fun.",
        "Judge: Cats are fun.": {"grade": "not funny", "feedback": "Use a bar."},
        "user: A joke on cats. Mind: Use a bar.": "A cat walks into a bar: mew.",
        "Judge: A cat walks into a bar: mew.": {"grade": "funny"},
        "user: A joke on dogs.": "A dog walks into a bark.",
        "Judge: A dog walks into a bark.": {"grade": "funny"},
    },
)
