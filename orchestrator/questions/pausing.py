"""Turns LangGraph's interrupts and breakpoints into the event for the human's question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import RunnableConfig
from langgraph.pregel import Pregel
from langgraph.types import All, StateSnapshot
from langgraph.types import Interrupt as GraphInterrupt

from antiphon.orchestrator import events
from antiphon.orchestrator.questions.asking import Asking
from antiphon.orchestrator.questions.questions import GraphQuestion, breakpoint_of, interrupt_of
from antiphon.orchestrator.recording.view import RunView
from antiphon.orchestrator.values import plain


def question_of(
    interrupts: Sequence[GraphInterrupt], asking: Asking, view: RunView, refused: bool = False
) -> events.Interrupt:
    """Return the event for what the nodes and tools of a graph ask, the oldest question first.

    A question that is open already is older than those of this execution, which come in the order
    in which their nodes began.
    """
    open_ids = [question.id for question in view.asked.open] if view.asked is not None else []
    age = {id_: place - len(open_ids) for place, id_ in enumerate(open_ids)}
    oldest_first = sorted(interrupts, key=lambda each: (age.get(each.id, 0), asking.rank(each)))
    return interrupt_of([_asked(interrupt, asking) for interrupt in oldest_first], refused)


def _asked(interrupt: GraphInterrupt, asking: Asking) -> GraphQuestion:
    value, schema = plain(interrupt.value), plain(interrupt.response_schema)
    call_id = asking.call_id(interrupt)
    if isinstance(value, dict) and value.get("type") == "tool_approval":
        # it is asked before the tool is called
        call_id = str(value.get("tool_call_id") or call_id)
    return GraphQuestion(interrupt.id, value, schema if isinstance(schema, dict) else None, call_id)


def storable(written: Any) -> Any:
    """Return what a task wrote to ask a human in a form that can be stored, with the same ids."""
    if not isinstance(written, list | tuple):
        return written
    return tuple(_storable(part) if isinstance(part, GraphInterrupt) else part for part in written)


def _storable(interrupt: GraphInterrupt) -> GraphInterrupt:
    schema = plain(interrupt.response_schema)
    return GraphInterrupt(plain(interrupt.value), interrupt.id, response_schema=schema)


async def breakpoint_at(
    graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, checkpoint_id: str
) -> events.Interrupt:
    """Return the question of a graph that has stopped by itself: whether it shall go on."""
    snapshot = _innermost(await graph.aget_state(config, subgraphs=True))
    return breakpoint_of(checkpoint_id, snapshot.next, _draft(snapshot.values))


async def breakpoint_missed(
    graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, view: RunView
) -> str | None:
    """Return the checkpoint of a breakpoint that a graph had reached when its process died.

    None if there is none, or if the human has approved it. LangGraph would go on from there without
    a question: it takes every start from a checkpoint for the human's yes.
    """
    before, after = graph.interrupt_before_nodes, graph.interrupt_after_nodes
    if not before and not after:
        return None
    snapshot = await graph.aget_state(config)
    checkpoint_id = str(snapshot.config["configurable"]["checkpoint_id"])
    if checkpoint_id in view.passed:
        return None
    done: tuple[str, ...] = ()
    if after and snapshot.parent_config is not None:
        done = (await graph.aget_state(snapshot.parent_config)).next
    return checkpoint_id if _stops_at(before, snapshot.next) or _stops_at(after, done) else None


def _stops_at(breakpoints: All | Sequence[str], nodes: Sequence[str]) -> bool:
    visible = [name for name in nodes if not name.startswith("__")]
    return any(breakpoints == "*" or name in breakpoints for name in visible)


def _innermost(snapshot: StateSnapshot) -> StateSnapshot:
    """Return the state of the innermost subgraph that has stopped, if one has."""
    states = [task.state for task in snapshot.tasks]
    inner = [state for state in states if isinstance(state, StateSnapshot) and state.next]
    return _innermost(inner[0]) if inner else snapshot


def _draft(values: Any) -> Any:
    """Return a state in plain values, with only the last of its messages."""
    if not isinstance(values, dict):
        return plain(values)
    return {
        str(name): _last(value) if _are_messages(value) else plain(value)
        for name, value in values.items()
    }


def _are_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[-1], BaseMessage)


def _last(messages: Sequence[BaseMessage]) -> dict[str, Any]:
    message = messages[-1]
    shown: dict[str, Any] = {"role": message.type, "content": str(message.text)}
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    if calls:
        shown["tool_calls"] = [
            {"name": call["name"], "args": plain(call["args"]), "id": call["id"]} for call in calls
        ]
    return shown
