"""Corrections for graphs that are called inside a run, which LangGraph 1.2 gets wrong.

How they were found is in docs/decisions/2026-11-27-graphs-inside-graphs.md.
"""

from __future__ import annotations

from collections.abc import Iterator

from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_CHECKPOINT_MAP, CONFIG_KEY_RESUMING
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.pregel._loop import AsyncPregelLoop, SyncPregelLoop


def begin_anew_unless_begun(config: RunnableConfig, last: CheckpointTuple) -> None:
    """Let a subgraph take its input, unless its `last` checkpoint is of the call that is repeated.

    If a run goes on after a crash or a question, LangGraph makes every subgraph go on, too. A
    subgraph that keeps its state then takes the end of an earlier turn, or of an earlier step, for
    the answer to this call, and ignores its input. `config` is the call's; LangGraph changes it in
    the same way if it replays a run.
    """
    conf = config["configurable"]
    same_call = (last.metadata.get("parents") or {}) == conf.get(CONFIG_KEY_CHECKPOINT_MAP, {})
    if conf.get("checkpoint_ns") and not same_call:
        conf.pop(CONFIG_KEY_RESUMING, None)


class _NothingToSave:
    """The pending save of a graph that saves nothing. It is always done.

    `durability="sync"` reaches inner graphs through the config, and LangGraph waits for the save
    of each step. In a graph with `checkpointer=False` its loop lacks the attribute.
    """

    def result(self) -> None:
        """Return at once."""

    def __await__(self) -> Iterator[None]:
        return iter(())


def allow_graphs_that_save_nothing() -> None:
    """Give LangGraph's loops a save to wait for. Idempotent."""
    for loop in (AsyncPregelLoop, SyncPregelLoop):
        if not hasattr(loop, "_put_checkpoint_fut"):
            setattr(loop, "_put_checkpoint_fut", _NothingToSave())  # noqa: B010 - not ours
