"""A graph of one node that returns a fixed response."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from langgraph.graph import StateGraph
from langgraph.runtime import Runtime
from typing_extensions import TypedDict


class Context(TypedDict):
    """What can be set for each run."""

    my_configurable_param: str


@dataclass
class State:
    """What the graph takes, and what it gives."""

    changeme: str = "example"


async def call_model(state: State, runtime: Runtime[Context]) -> dict[str, Any]:
    """Stands for a call of a model."""
    setting = (runtime.context or {}).get("my_configurable_param", "nothing")
    return {"changeme": f"{state.changeme.upper()}, set up with {setting}."}


graph = (
    StateGraph(State, context_schema=Context)
    .add_node(call_model)
    .add_edge("__start__", "call_model")
    .compile(name="New Graph")
)
