"""A graph that keeps its state from turn to turn, and what must be true of that state afterwards.

Each turn adds its message, the model's answer, and a note in two places: in the graph's own state,
and in that of a graph which a plain function calls.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Annotated, Any

from langchain_core.messages import BaseMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from typing_extensions import TypedDict

from antiphon.orchestrator.engine.serde import load_checkpoint, serializer
from antiphon.orchestrator.engine.thread_state import unpack

INNER = "remember"


class Notes(TypedDict, total=False):
    noted: Annotated[list[str], operator.add]


class State(MessagesState, total=False):
    noted: Annotated[list[str], operator.add]


def note(state: Notes) -> Notes:
    return {}


def compiled() -> Any:
    inner = StateGraph(Notes).add_node(note).add_edge(START, "note").compile(checkpointer=True)
    model = ChatOpenAI(model="x", base_url=os.environ["OPENAI_BASE_URL"], use_responses_api=False)

    def remember(state: State) -> Any:
        said = [str(state["messages"][-1].content)]
        inner.invoke({"noted": said})
        return {"noted": said}

    async def troubleshooting(state: State) -> Any:
        return {"messages": [await model.ainvoke(state["messages"][-1:])]}

    graph = StateGraph(State).add_node(remember).add_node(troubleshooting)
    return graph.add_edge(START, "remember").add_edge("remember", "troubleshooting").compile()


def wrong(packed: bytes, conversation: Sequence[tuple[str, str]]) -> str | None:
    """What a thread's state has lost or doubled; its messages are `(role, content)`."""
    states = {one.checkpoint.namespace: one.checkpoint for one in unpack(packed)}
    values = {
        name: load_checkpoint(serializer(), stored.kind, stored.value)["channel_values"]
        for name, stored in states.items()
    }
    asked = [content for role, content in conversation if role == "user"]
    messages: list[BaseMessage] = values[""]["messages"]
    roles = {"human": "user", "ai": "assistant"}
    if (known := [(roles[message.type], message.content) for message in messages]) != list(
        conversation,
    ):
        return f"messages {known} of {conversation}"
    for name in ("", INNER):
        if values[name]["noted"] != asked:
            return f"notes of {name!r}: {values[name]['noted']} of {asked}"
    return None


if "OPENAI_BASE_URL" in os.environ:  # in the server; the suite itself only compares
    graph = compiled()
