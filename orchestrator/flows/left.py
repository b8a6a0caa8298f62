"""What a conversation in steps leaves in its thread's state for the next turn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.data.ids import new_id
from antiphon.orchestrator.flows.definition import Exits
from antiphon.orchestrator.flows.plan import FlowPlan

STATE_SIZE = 256 * 1024
"""Bytes of a state. A larger one leaves the outputs of nodes out."""


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn leaves for the next one. A `bound` thread stays with its flow for good."""

    flow: str
    workflow: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    bound: bool = False


def bound_to(agent_id: str) -> bytes:
    """Return the state of a new thread whose messages all go to one flow."""
    return msgspec.json.encode(Left(flow=agent_id, bound=True))


def bound_flow(encoded: bytes) -> str | None:
    """Return the flow that a thread was made for."""
    left = msgspec.json.decode(encoded, type=Left) if encoded else None
    return left.flow if left is not None and left.bound else None


def flow_of(encoded: bytes) -> str | None:
    """Return the flow for a thread's next message, if the message does not name one."""
    return msgspec.json.decode(encoded, type=Left).flow if encoded else None


def read_left(encoded: bytes, agent_id: str, plan: FlowPlan) -> Left:
    """Return the place of the conversation.

    It is a new beginning if nothing was left, or if the step does not exist any more. A guest is a
    flow that runs in a thread bound to another flow: it leaves nothing.
    """
    left = msgspec.json.decode(encoded, type=Left) if encoded else Left(flow=agent_id)
    guest = left.bound and left.flow != agent_id
    if left.flow != agent_id:
        left = Left(flow=agent_id)
    node = plan.flow.nodes.get(str(left.workflow.get("at")))
    if node is not None and node.kind.exits is Exits.NEXT_TURN:
        return left
    workflow: dict[str, Any] = {
        "id": new_id(),
        "at": None,
        "turn": 0,
        "steps": {},
        "done": False,
        "bound": left.bound,
        "guest": guest,
    }
    return Left(flow=agent_id, workflow=workflow, bound=left.bound)


def write_left(state: Mapping[str, Any], agent_id: str) -> bytes | None:
    """Return what a turn leaves: nothing (`b""`) after the last step, None to change nothing."""
    workflow = state.get("workflow") or {}
    if workflow.get("guest"):
        return None
    bound = bool(workflow.get("bound"))
    if not workflow.get("at") or workflow.get("done"):
        return bound_to(agent_id) if bound else b""
    left = Left(flow=agent_id, workflow=workflow, outputs=state.get("outputs", {}), bound=bound)
    encoded = msgspec.json.encode(left)
    if len(encoded) > STATE_SIZE:
        return msgspec.json.encode(msgspec.structs.replace(left, outputs={}))
    return encoded
