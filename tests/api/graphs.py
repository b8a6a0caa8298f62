"""A user's own graph, as `--graph` would serve it: it knows nothing of Antiphon, reports no
progress, asks humans."""

from __future__ import annotations

import operator
import os
import signal
from pathlib import Path
from typing import Annotated, Any

from langchain_core.callbacks import adispatch_custom_event
from langgraph.callbacks import GraphCallbackHandler
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt
from typing_extensions import TypedDict

WORDS = ("So ", "it ", "is: ")
PAY, DELETE = "pay Bob 10?", "delete the database?"


class State(TypedDict, total=False):
    question: str
    draft: str
    done: Annotated[list[str], operator.add]
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


async def charge(state: State) -> State:
    """Asks at the same time as `delete`."""
    return {"done": ["paid"] if interrupt({"question": PAY, "amount": 10}) == "yes" else []}


async def delete(state: State) -> State:
    """Asks at the same time as `charge`."""
    return {"done": ["deleted"] if interrupt(DELETE) == "yes" else []}


async def report(state: State) -> State:
    """Tells what was done."""
    return {"answer": f"done: {', '.join(sorted(state.get('done', []))) or 'nothing'}"}


async def draft(state: State) -> State:
    """Writes what `send` sends; the graph stops in between."""
    return {"draft": "Dear Bob"}


async def send(state: State) -> State:
    """Sends it."""
    return {"answer": f"sent: {state['draft']}"}


async def review(state: State) -> State:
    """Asks about a tool call as `HumanInTheLoopMiddleware` does."""
    request = {"name": "mail", "args": {"to": "ada"}, "description": "Look at this."}
    config = {"action_name": "mail", "allowed_decisions": ["approve", "reject"]}
    [decision] = interrupt({"action_requests": [request], "review_configs": [config]})["decisions"]
    return {"answer": f"decided: {decision['type']}"}


def choose(state: State) -> list[str]:
    """The node for a question."""
    ways = {"ask both": ["charge", "delete"], "draft it": ["draft"], "review it": ["review"]}
    return ways.get(state["question"], ["speak"])


builder = StateGraph(State)
for node in (speak, charge, delete, report, draft, send, review):
    builder.add_node(node.__name__, node)
builder.add_conditional_edges(START, choose, ["speak", "charge", "delete", "draft", "review"])
builder.add_edge(["charge", "delete"], "report")
builder.add_edge("draft", "send")
for last in ("speak", "report", "send", "review"):
    builder.add_edge(last, END)
asking = builder.compile(interrupt_before=["send"])


class DiesAtBreakpoint(GraphCallbackHandler):
    """Kills the process when a graph stops by itself, in the moment before the question is stored; once.

    The environment variable `TRAP` names a file that says that it has not done so yet.
    """

    run_inline = True

    def on_interrupt(self, event: Any) -> None:
        """The graph has stopped."""
        trap = Path(os.environ["TRAP"])
        if not event.interrupts and trap.exists():
            trap.unlink()
            os.kill(os.getpid(), signal.SIGKILL)


dying = builder.compile(interrupt_before=["send"]).with_config(callbacks=[DiesAtBreakpoint()])
