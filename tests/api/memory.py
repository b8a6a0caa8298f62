"""A user's own graph with a long memory, as `--graph` would serve it.

It reads memories before it answers, and its model writes them by a tool. It knows nothing of
Antiphon: the store is the one that its runtime has.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from langchain_core.messages import SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore

PLACE = ("memories", "somebody")
model = ChatOpenAI(model="gpt-4o-mini")


@dataclass
class Context:
    """What a request may choose."""

    prompt: str = "You remember what people say."


async def upsert_memory(store: BaseStore, content: str, memory_id: str | None = None) -> str:
    """Keep something about the user, in place of an earlier memory if `memory_id` names one."""
    key = memory_id or str(uuid4())
    await store.aput(PLACE, key, {"content": content})
    return f"kept as {key}"


TOOL = {
    "type": "function",
    "function": {
        "name": "upsert_memory",
        "description": "Keep something about the user.",
        "parameters": {
            "type": "object",
            "properties": {"content": {"type": "string"}, "memory_id": {"type": "string"}},
            "required": ["content"],
        },
    },
}


async def call_model(state: MessagesState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Answer, with what is known about the user in the prompt."""
    assert runtime.store is not None
    recent = " ".join(str(message.text) for message in state["messages"][-3:])
    known = await runtime.store.asearch(PLACE, query=recent, limit=10)
    lines = [f"[{item.key}]: {item.value['content']}" for item in known]
    prompt = SystemMessage(f"Memories:\n{chr(10).join(lines)}")
    answer = await model.bind_tools([TOOL]).ainvoke([prompt, *state["messages"]])
    return {"messages": [answer]}


async def store_memory(state: MessagesState, runtime: Runtime[Context]) -> dict[str, Any]:
    """Do what the model has asked for, all at once."""
    assert runtime.store is not None
    calls = getattr(state["messages"][-1], "tool_calls", [])
    kept = await asyncio.gather(*(upsert_memory(runtime.store, **call["args"]) for call in calls))
    done = [
        ToolMessage(text, tool_call_id=call["id"]) for call, text in zip(calls, kept, strict=True)
    ]
    return {"messages": done}


def route(state: MessagesState) -> str:
    """Whether something is to be kept."""
    return "store_memory" if getattr(state["messages"][-1], "tool_calls", None) else END


builder = StateGraph(MessagesState, context_schema=Context)
builder.add_node(call_model)
builder.add_node(store_memory)
builder.add_edge(START, "call_model")
builder.add_conditional_edges("call_model", route, ["store_memory", END])
builder.add_edge("store_memory", "call_model")
graph = builder.compile()
