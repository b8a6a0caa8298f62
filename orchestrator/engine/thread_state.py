"""What one run of a graph leaves for the next one in its thread, and where checkpoints belong.

docs/decisions/2026-11-27-state-of-a-thread.md has the reasons.
"""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote, unquote

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import NS_END

from antiphon.data.records import StoredCheckpoint
from antiphon.orchestrator.engine.serde import check_size

ThreadState = tuple[StoredCheckpoint, ...]
"""For each lasting namespace its last checkpoint. It may be followed by a made-up earlier one,
which holds what LangGraph would otherwise look for further back (`DeltaChannel`)."""


def pack(state: ThreadState) -> bytes:
    """A thread's state as bytes. Raises `StateTooLarge`."""
    sizes: Counter[str] = Counter()
    for stored in state:
        sizes[stored.checkpoint.namespace] += len(stored.checkpoint.value)
        sizes[stored.checkpoint.namespace] += sum(len(write.value) for write in stored.writes)
    check_size(sizes)
    return msgspec.msgpack.encode(state)


def unpack(packed: bytes) -> ThreadState:
    """A thread's state from its bytes."""
    return msgspec.msgpack.decode(packed, type=ThreadState)


class Places:
    """Maps the thread ids and namespaces that graphs know to the namespaces of one run.

    The thread's own id stands for the run. Another id, which a node gives an inner graph together
    with the run's checkpointer, stays apart: it precedes the namespace, between colons. No name of
    a node has one; LangGraph puts it before the id of a task.
    """

    def __init__(self, thread_id: str) -> None:
        self._thread_id = thread_id

    def stored(self, config: RunnableConfig) -> str:
        """The stored namespace that a config names."""
        thread_id = str(config["configurable"]["thread_id"])
        namespace: str = config["configurable"].get("checkpoint_ns", "")
        if thread_id == self._thread_id:
            return namespace
        return f"{NS_END}{quote(thread_id, safe='')}{NS_END}{namespace}"

    def known(self, stored: str) -> tuple[str, str]:
        """The thread id and the namespace that graphs know, of a stored one."""
        if not stored.startswith(NS_END):
            return self._thread_id, stored
        _, thread_id, namespace = stored.split(NS_END, 2)
        return unquote(thread_id), namespace

    def config(self, stored: str, checkpoint_id: str | None) -> RunnableConfig:
        """The config that names a checkpoint in a stored namespace."""
        thread_id, namespace = self.known(stored)
        place = {"thread_id": thread_id, "checkpoint_ns": namespace}
        return {"configurable": {**place, "checkpoint_id": checkpoint_id}}

    def lasts(self, stored: str) -> bool:
        """Whether a stored namespace is there in the next run: no id of a task stands in it."""
        return NS_END not in self.known(stored)[1]
