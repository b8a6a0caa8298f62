"""Builds the config of a run's graph, as LangGraph's server does: request, user, ids.

A request cannot set keys that the server sets: they are dropped, as LangGraph's server does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from antiphon.data.records import RunRecord
from antiphon.orchestrator.request import LOCAL_USER, Request, is_free
from antiphon.orchestrator.values import plain


class RunUser(Mapping[str, Any]):
    """The user of a run, a `BaseUser` of LangGraph's SDK. Its permissions are access labels."""

    def __init__(self, identity: str, permissions: Sequence[str]) -> None:
        self.identity = identity
        self.display_name = identity
        self.is_authenticated = identity != LOCAL_USER
        self.permissions = list(permissions)

    def __getitem__(self, key: str) -> Any:
        return vars(self)[key]

    def __iter__(self) -> Iterator[str]:
        return iter(vars(self))

    def __len__(self) -> int:
        return len(vars(self))


def configurable_of(run: RunRecord, request: Request) -> dict[str, Any]:
    """Return `config["configurable"]` of a graph, without the ids of thread and run."""
    values = {key: value for key, value in request.context_values.items() if is_free(key)}
    user = RunUser(run.user_id, request.access)
    return values | {
        "graph_id": run.graph,
        "assistant_id": run.graph,
        "user_id": run.user_id,
        "langgraph_auth_user": user,
        "langgraph_auth_user_id": run.user_id,
        "langgraph_auth_permissions": user.permissions,
        "profile": plain(request.profile),  # tracers and checkpoints copy only plain values
    }


def run_config(run: RunRecord, request: Request) -> RunnableConfig:
    """Return the config to open and invoke a run's graph with, without its limit of steps."""
    config = request.config or {}
    ids = {"thread_id": run.thread_id, "run_id": run.id}
    return {
        "configurable": configurable_of(run, request) | ids,
        "tags": config.get("tags", []),
        "metadata": config.get("metadata", {}),
    }
