"""What LangGraph's and LangChain's metadata and tags say of a runnable: agent, node, edge, task."""

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
    """A node's own label; None if it has none, or only that of the node around it, which it inherits."""
    found = metadata.get(LABEL)
    if found is None or (enclosing is not None and found == enclosing.own_label):
        return None
    try:
        return msgspec.convert(found, Label)
    except msgspec.ValidationError:
        return None  # the user's own use of the key


def agent_of(
    name: str | None, tags: list[str], metadata: Mapping[str, Any], enclosing: AgentSpan | None
) -> str | None:
    """The agent that begins with this runnable, or None if it belongs to what is around it."""
    created = metadata.get("lc_agent_name")
    node = metadata.get("langgraph_node")
    is_node = name == node and (has_step(tags) or is_task_path(metadata.get("langgraph_path")))
    if "langsmith:hidden" in tags or (name or "").startswith("__"):
        return None
    if created and isinstance(
        created, str
    ):  # the inner nodes of a `create_agent` agent are that agent
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
    """Whether a path in a graph is that of a function decorated with `@task`, called by another one."""
    return (
        isinstance(path, tuple)
        and len(path) > 3
        and path[0] == "__pregel_push"
        and path[-1] is True
    )


def is_edge(tags: Sequence[str]) -> bool:
    """Whether a runnable directly inside a node's run is one of its edges: they follow the node's own function."""
    return any(tag.startswith("seq:step:") and tag != "seq:step:1" for tag in tags)


def is_middleware(metadata: Mapping[str, Any]) -> bool:
    """Whether a model is asked by middleware, for example for a summary."""
    node = metadata.get("langgraph_node")
    return isinstance(node, str) and MIDDLEWARE.match(node) is not None
