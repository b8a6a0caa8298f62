"""Reads LangGraph's and LangChain's metadata and tags of a runnable: agent, node, edge, task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from antiphon.orchestrator.graphs.shape import MIDDLEWARE
from antiphon.orchestrator.recording.spans import AgentSpan, Label

LABEL = "antiphon"
"""The one key of a node's metadata that is ours; everything else there is the user's own."""


def namespace_of(metadata: Mapping[str, Any]) -> str:
    """Return the namespace of the task that a runnable belongs to; empty if it belongs to none."""
    return str(metadata.get("langgraph_checkpoint_ns", ""))


def label_of(metadata: Mapping[str, Any], enclosing: AgentSpan | None) -> Label | None:
    """Return a node's own label; None if it has none but what it inherits from the node around."""
    value = metadata.get(LABEL)
    if value is None or (enclosing is not None and value == enclosing.own_label):
        return None
    try:
        return msgspec.convert(value, Label)
    except msgspec.ValidationError:
        return None  # the user's own use of the key


def agent_of(
    name: str | None, tags: list[str], metadata: Mapping[str, Any], enclosing: AgentSpan | None
) -> str | None:
    """Return the agent that begins with this runnable; None if it belongs to the one around it."""
    created = metadata.get("lc_agent_name")
    node = metadata.get("langgraph_node")
    is_node = name == node and (has_step(tags) or is_task_path(metadata.get("langgraph_path")))
    if "langsmith:hidden" in tags or (name or "").startswith("__"):
        return None
    if created and isinstance(created, str):
        # the inner nodes of a `create_agent` agent are that agent
        is_agent = name == created and not is_node
        return created if is_agent and not (enclosing and enclosing.agent == created) else None
    if not is_node or name is None or MIDDLEWARE.match(name):
        return None
    label = label_of(metadata, enclosing)
    if label is None or label.agent is None:
        return name
    return label.agent or None


def has_step(tags: Sequence[str]) -> bool:
    """Whether a runnable is a node's run in a step of its graph."""
    return any(tag.startswith("graph:step:") for tag in tags)


def is_task_path(path: Any) -> bool:
    """Whether a path in a graph is that of a function with `@task`, called by another function."""
    return (
        isinstance(path, tuple)
        and len(path) > 3
        and path[0] == "__pregel_push"
        and path[-1] is True
    )


def is_edge(tags: Sequence[str]) -> bool:
    """Whether a runnable directly inside a node's run is one of its edges.

    They are the steps after the node's own function.
    """
    return any(tag.startswith("seq:step:") and tag != "seq:step:1" for tag in tags)


def is_middleware(metadata: Mapping[str, Any]) -> bool:
    """Whether middleware calls a model, for example for a summary."""
    node = metadata.get("langgraph_node")
    return isinstance(node, str) and MIDDLEWARE.match(node) is not None
