"""What a graph that has stopped for a human asks: LangGraph's interrupts and breakpoints, as an event."""

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
from antiphon.orchestrator.questions.questions import Asked, breakpoint_of, interrupt_of
from antiphon.orchestrator.recording.view import RunView
from antiphon.orchestrator.values import plain


def question_of(
    interrupts: Sequence[GraphInterrupt], asking: Asking, view: RunView, refused: bool = False
) -> events.Interrupt:
    """What the nodes and tools of a graph ask, the oldest question first.

    A question that is open already is older than those of this execution, whose nodes tell which comes first.
    """
    known = [one.id for one in view.asked.open] if view.asked is not None else []
    age = {id_: place - len(known) for place, id_ in enumerate(known)}
    oldest_first = sorted(interrupts, key=lambda one: (age.get(one.id, 0), asking.rank(one)))
    return interrupt_of([_asked(one, asking) for one in oldest_first], refused)


def _asked(interrupt: GraphInterrupt, asking: Asking) -> Asked:
    value, schema = plain(interrupt.value), plain(interrupt.response_schema)
    call_id = asking.call_id(interrupt)
    if (
        isinstance(value, dict) and value.get("type") == "tool_approval"
    ):  # asked before the tool is called
        call_id = str(value.get("tool_call_id") or call_id)
    return Asked(interrupt.id, value, schema if isinstance(schema, dict) else None, call_id)


def storable(asked: Any) -> Any:
    """What a task wrote to ask a human, so that all of it can be stored: values in plain types, ids as they are."""
    if not isinstance(asked, list | tuple):
        return asked
    return tuple(_storable(one) if isinstance(one, GraphInterrupt) else one for one in asked)


def _storable(one: GraphInterrupt) -> GraphInterrupt:
    return GraphInterrupt(plain(one.value), one.id, response_schema=plain(one.response_schema))


async def breakpoint_at(
    graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, checkpoint_id: str
) -> events.Interrupt:
    """What a graph asks that has stopped by itself: whether to go on, and with what."""
    stands = _innermost(await graph.aget_state(config, subgraphs=True))
    return breakpoint_of(checkpoint_id, stands.next, _draft(stands.values))


async def breakpoint_missed(
    graph: Pregel[Any, Any, Any, Any], config: RunnableConfig, view: RunView
) -> str | None:
    """The checkpoint of a breakpoint that a graph had reached when its process died, before the question was stored.

    LangGraph would go on from there: it takes every start from a checkpoint for the human's yes.
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
    """Where a graph stands: in the subgraph that stands somewhere, if one does."""
    inner = [
        task.state
        for task in snapshot.tasks
        if isinstance(task.state, StateSnapshot) and task.state.next
    ]
    return _innermost(inner[0]) if inner else snapshot


def _draft(values: Any) -> Any:
    """A state in plain values. Of messages only the last one counts."""
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
            {"name": one["name"], "args": plain(one["args"]), "id": one["id"]} for one in calls
        ]
    return shown
