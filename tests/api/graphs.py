"""A user's own graph, as `--graph` would serve it: it knows nothing of Antiphon, reports no progress, asks humans."""

from __future__ import annotations

from langchain_core.callbacks import adispatch_custom_event
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

WORDS = ("So ", "it ", "is: ")


class State(TypedDict, total=False):
    question: str
    answer: str


async def speak(state: State) -> State:
    """Repeats the question word by word; before that, asks what is meant where the question has a `?` alone."""
    question = state["question"]
    if question.startswith("ask me"):
        answer = interrupt({"question": "Which car?", "options": ["Merula", "other"]})
        question = f"{answer}"
    words = [*WORDS, *(f"{word} " for word in question.split())]
    for word in words:
        await adispatch_custom_event("agent_chunk", {"text": word})
    return {"answer": "".join(words)}


builder = StateGraph(State)
builder.add_node("speak", speak)
builder.add_edge(START, "speak")
builder.add_edge("speak", END)
asking = builder.compile()
