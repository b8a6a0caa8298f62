"""The state of a conversation in steps, which its thread keeps from turn to turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.data.ids import new_id
from antiphon.orchestrator.flows.definition import Exits
from antiphon.orchestrator.flows.plan import FlowPlan

STATE_SIZE = 256 * 1024
"""Bytes of a state. A larger one is stored without the outputs of nodes."""


class ConversationState(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a conversation. A `bound` thread stays with its flow for good."""

    flow: str
    workflow: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    bound: bool = False


def bound_to(agent_id: str) -> bytes:
    """Return the state of a new thread whose messages all go to one flow."""
    return msgspec.json.encode(ConversationState(flow=agent_id, bound=True))


def bound_flow(encoded: bytes) -> str | None:
    """Return the flow that a thread was made for."""
    state = _decode(encoded)
    return state.flow if state is not None and state.bound else None


def flow_of(encoded: bytes) -> str | None:
    """Return the flow for a thread's next message, if the message does not name one."""
    state = _decode(encoded)
    return state.flow if state is not None else None


def _decode(encoded: bytes) -> ConversationState | None:
    return msgspec.json.decode(encoded, type=ConversationState) if encoded else None


def read_state(encoded: bytes, agent_id: str, plan: FlowPlan) -> ConversationState:
    """Return the state with which a turn begins.

    The workflow is a new one if the thread has none, or if its step does not exist any more. A
    guest is a flow that runs in a thread bound to another flow: it does not change the state.
    """
    state = _decode(encoded) or ConversationState(flow=agent_id)
    guest = state.bound and state.flow != agent_id
    if state.flow != agent_id:
        state = ConversationState(flow=agent_id)
    node = plan.flow.nodes.get(str(state.workflow.get("at")))
    if node is not None and node.kind.exits is Exits.NEXT_TURN:
        return state
    workflow: dict[str, Any] = {
        "id": new_id(),
        "at": None,
        "turn": 0,
        "steps": {},
        "done": False,
        "bound": state.bound,
        "guest": guest,
    }
    return ConversationState(flow=agent_id, workflow=workflow, bound=state.bound)


def write_state(final: Mapping[str, Any], agent_id: str) -> bytes | None:
    """Return the thread's state after a turn whose graph ended with the state `final`.

    It is empty after the last step, unless the thread is bound. None changes nothing.
    """
    workflow = final.get("workflow") or {}
    if workflow.get("guest"):
        return None
    bound = bool(workflow.get("bound"))
    if not workflow.get("at") or workflow.get("done"):
        return bound_to(agent_id) if bound else b""
    outputs = final.get("outputs", {})
    state = ConversationState(flow=agent_id, workflow=workflow, outputs=outputs, bound=bound)
    encoded = msgspec.json.encode(state)
    if len(encoded) > STATE_SIZE:
        return msgspec.json.encode(msgspec.structs.replace(state, outputs={}))
    return encoded
