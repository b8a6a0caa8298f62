"""The config of a run's graph, as LangGraph's server has it: what a request gives, who asks, where.

What the server says cannot be said by a request: such keys are dropped, as LangGraph's server does.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.runnables import RunnableConfig

from antiphon.data.records import Run
from antiphon.orchestrator.graphs.served import RequestConfig, RunInput
from antiphon.orchestrator.values import plain

log = logging.getLogger("antiphon.engine")

LOCAL_USER = "local"
"""Who asks where nobody has to say so."""
OURS = frozenset(
    {
        *("thread_id", "run_id", "task_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"),
        *("graph_id", "assistant_id", "user_id", "profile"),
        *("langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"),
    }
)
"""Keys of `configurable` that the server sets, or that choose what a graph goes on from."""
LABELS = ("__", "antiphon", "langgraph_", "lc_", "ls_")
"""Beginnings of metadata's keys that have a meaning of their own for LangGraph, LangChain or us."""
MARKS = ("graph:", "langsmith:", "seq:")
"""Beginnings of tags that have one."""


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


def without_ours(config: RequestConfig) -> RequestConfig:
    """What a request may say of its config; the log names what it may not."""
    configurable = {key: value for key, value in config.configurable.items() if _is_free(key)}
    metadata = {key: value for key, value in config.metadata.items() if not key.startswith(LABELS)}
    tags = [tag for tag in config.tags if not tag.startswith(MARKS)]
    kept = {*configurable, *metadata, *tags}
    if dropped := sorted({*config.configurable, *config.metadata, *config.tags} - kept):
        log.info("a request's config says what only the server says: %s", ", ".join(dropped))
    return msgspec.structs.replace(config, configurable=configurable, metadata=metadata, tags=tags)


def _is_free(key: str) -> bool:
    return key not in OURS and not key.startswith("__")


def configurable_of(run: Run, given: RunInput) -> dict[str, Any]:
    """What a graph finds in `config["configurable"]`, apart from the ids of thread and run."""
    asked = {key: value for key, value in given.context_values.items() if _is_free(key)}
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


def run_config(run: Run, given: RunInput) -> RunnableConfig:
    """The config with which a run's graph is opened and invoked, but for its limit of steps."""
    return {
        "configurable": configurable_of(run, given) | {"thread_id": run.thread_id, "run_id": run.id},
        "tags": given.config.tags,
        "metadata": given.config.metadata,
    }
