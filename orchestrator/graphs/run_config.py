"""The config of a run's graph, as LangGraph's server has it: what a request gives, who asks, where.

What the server says cannot be said by a request: such keys are dropped, as LangGraph's server does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig

from antiphon.data.records import RunRecord
from antiphon.orchestrator.request import LOCAL_USER, Request, is_free
from antiphon.orchestrator.values import plain


class RunUser(Mapping[str, Any]):
    """Who a run is for, a `BaseUser` of LangGraph's SDK. Its permissions are access labels."""

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


def configurable_of(run: RunRecord, given: Request) -> dict[str, Any]:
    """What a graph finds in `config["configurable"]`, apart from the ids of thread and run."""
    asked = {key: value for key, value in given.context_values.items() if is_free(key)}
    user = RunUser(run.user_id, given.access)
    return asked | {
        "graph_id": run.graph,
        "assistant_id": run.graph,
        "user_id": run.user_id,
        "langgraph_auth_user": user,
        "langgraph_auth_user_id": run.user_id,
        "langgraph_auth_permissions": user.permissions,
        "profile": plain(given.profile),  # tracers and checkpoints copy only plain values
    }


def run_config(run: RunRecord, given: Request) -> RunnableConfig:
    """The config with which a run's graph is opened and invoked, but for its limit of steps."""
    asked = given.config or {}
    return {
        "configurable": configurable_of(run, given) | {"thread_id": run.thread_id, "run_id": run.id},
        "tags": asked.get("tags", []),
        "metadata": asked.get("metadata", {}),
    }
