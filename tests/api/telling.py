"""A user's own graph that tells what reached it, and a factory that tells the same."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import START, StateGraph, add_messages
from langgraph.runtime import Runtime
from pydantic import BaseModel

NAMES = ("user_id", "langgraph_auth_user_id", "graph_id", "knob")


@dataclass(kw_only=True)
class Context:
    """What a request may set."""

    knob: str = "untouched"


class State(BaseModel):
    """What the graph takes: `size` has to be given."""

    messages: Annotated[list, add_messages]
    size: int


async def tell(state: State, config: RunnableConfig, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer with all that is known."""
    configurable = config["configurable"]
    told = [
        state.messages[-1].text,
        state.size,
        runtime.context.knob,
        *map(configurable.get, NAMES),
    ]
    return {"messages": [AIMessage(repr(told))]}


telling = StateGraph(State, context_schema=Context).add_node(tell).add_edge(START, "tell").compile()


def made(config: RunnableConfig) -> Any:
    """The same, for one run."""
    return telling.with_config(tags=[config["configurable"].get("knob", "none")])
