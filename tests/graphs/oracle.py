"""The gallery's conversations in plain LangGraph, with its own savers: what everybody else gives.

What the graph's output says is the answer, by the rules of docs/graphs.md, spelled here once more.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.pregel import Pregel
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Interrupt, StateSnapshot
from pydantic import BaseModel

from tests.graphs.catalogue import Entry, made
from tests.graphs.example import SAME, Turn


class Conversation:
    """One example, turn by turn, on threads of its own."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._own = {"checkpointer": InMemorySaver(), "store": InMemoryStore()}
        self._threads = 0
        self.asks: list[str] = []
        """Texts of the questions that are open."""
        self.output: Any = None
        self.given: Any = None
        self.known: set[str | None] = set()
        """Ids of the messages that the turn has found."""

    async def take(self, turn: Turn) -> None:
        """Play the next turn, with a graph that is made for it if there is a factory."""
        self._threads += turn.fresh
        configurable = {"thread_id": f"thread-{self._threads}"}
        config: RunnableConfig = {
            "configurable": configurable | turn.request.get("config", {}).get("configurable", {})
        }
        async with made(self._entry, config) as graph:
            await self._take(turn, graph.copy(update=self._own), config)

    async def _take(
        self, turn: Turn, graph: Pregel[Any, Any, Any, Any], config: RunnableConfig
    ) -> None:
        state = await graph.aget_state(config)
        self.known = {message.id for message in _messages(state.values)}
        self.given = self._input(turn, state)
        context = None if graph.context_schema is None else turn.request.get("context", {})
        self.output = await graph.ainvoke(self.given, config, context=context)
        state = await graph.aget_state(config)
        waits = [one for task in state.tasks for one in task.interrupts] or state.next
        self.asks = [_text(one.value) if isinstance(one, Interrupt) else one for one in waits]

    def _input(self, turn: Turn, state: StateSnapshot) -> Any:
        """Answer the oldest question of a graph that waits; else give it the message."""
        says = turn.says if turn.resume is SAME else turn.resume
        if state.interrupts:
            return Command(resume={state.interrupts[0].id: says})
        if state.next:
            return None
        takes = self._entry.example.takes
        if callable(takes):
            return takes(turn.says)
        if takes == "messages":
            return {"messages": [HumanMessage(turn.says)], **turn.request.get("inputs", {})}
        return {takes: turn.says, **turn.request.get("inputs", {})} if takes else turn.says

    def answer(self, said: Sequence[str]) -> str:
        """Return what the output gives; `said` are the texts of the turn's plain model calls."""
        output = self.output
        if isinstance(output, str | BaseMessage):
            return _text(output)
        if isinstance(response := output.get("structured_response"), BaseModel):
            return response.model_dump_json()
        if "messages" in output:
            return _reply(output["messages"], self.known)
        return _text_of_object(output, self.given if isinstance(self.given, Mapping) else {}, said)


def _reply(messages: Sequence[BaseMessage], known: Collection[str | None]) -> str:
    """Return the last message's text, after what its author has said before calling tools."""
    new = [message for message in messages if message.id not in known]
    last = new.pop()
    assert isinstance(last, AIMessage | ToolMessage) or last.name, last
    texts = [str(last.text)]
    while new:
        message = new.pop()
        if isinstance(message, AIMessage) and message.tool_calls and message.name == last.name:
            texts.insert(0, str(message.text))
        elif not isinstance(message, ToolMessage):
            break
    return "\n\n".join(text for text in texts if text)


def _text_of_object(
    output: Mapping[str, Any], given: Mapping[str, Any], said: Sequence[str]
) -> str:
    """Return the text that was said last and stands in the output, or its only text, or its
    JSON.
    """
    texts = {
        key: value
        for key, value in output.items()
        if isinstance(value, str) and value and given.get(key) != value
    }
    spoken = [text for text in said if text in texts.values()]
    named = [texts[key] for key in ("answer", "output", "response", "result") if key in texts]
    if spoken or named or len(texts) == 1:
        return [*texts.values(), *named, *spoken][-1]
    return json.dumps(dict(output))


def _messages(values: Any) -> list[BaseMessage]:
    found = values.get("messages", []) if isinstance(values, Mapping) else []
    return list(found)


def _text(value: Any) -> str:
    if isinstance(value, BaseMessage):
        return str(value.text)
    return value if isinstance(value, str) else json.dumps(value)
