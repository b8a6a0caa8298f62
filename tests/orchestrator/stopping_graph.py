"""A graph that keeps its state and stops where a message says, for a process that is killed there.

A message is `folder|label|node`. Each node notes in the folder that it is executed, then in the
state; the one that is named stops for ever unless there is a file `go on` in the folder. `b` and
`c` belong to a graph that a plain function calls, and which keeps a state of its own.
"""

from __future__ import annotations

import operator
import threading
from pathlib import Path
from typing import Annotated, Any

from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph


class State(MessagesState, total=False):
    noted: Annotated[list[str], operator.add]


def node(name: str) -> Any:
    def executed(state: State) -> Any:
        folder, label, stop = state["messages"][-1].content.split("|")
        with (Path(folder) / "executed").open("a") as file:
            file.write(f"{label}{name}\n")
        if name == stop and not (Path(folder) / "go on").exists():
            threading.Event().wait()
        return {"noted": [f"{label}{name}"]}

    return executed


_inner = StateGraph(State).add_node("b", node("b")).add_node("c", node("c"))
inner = _inner.add_edge(START, "b").add_edge("b", "c").compile(checkpointer=True)


def call(state: State) -> Any:
    found = inner.invoke({"messages": state["messages"][-1:]})
    return {"noted": [f"({', '.join(found['noted'])})"]}


def answer(state: State) -> Any:
    return {"messages": [AIMessage(" ".join(state["noted"]))]}


_outer = StateGraph(State).add_node("a", node("a")).add_node(call)
_outer.add_node("d", node("d")).add_node(answer)
_outer.add_edge(START, "a").add_edge("a", "call").add_edge("call", "d").add_edge("d", "answer")
graph = _outer.compile()
