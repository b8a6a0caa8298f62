"""The state that a run of a graph leaves for the thread's next one, and namespaces of checkpoints.

The reasons are in docs/decisions/2026-11-27-state-of-a-thread.md.
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
"""The last checkpoint of each lasting namespace. It may be followed by an artificial earlier one,
with what LangGraph would otherwise look for further back (`DeltaChannel`)."""


def pack(state: ThreadState) -> bytes:
    """Encode a thread's state. Raises `StateTooLarge`."""
    sizes: Counter[str] = Counter()
    for stored in state:
        sizes[stored.checkpoint.namespace] += len(stored.checkpoint.value)
        sizes[stored.checkpoint.namespace] += sum(len(write.value) for write in stored.writes)
    check_size(sizes)
    return msgspec.msgpack.encode(state)


def unpack(packed: bytes) -> ThreadState:
    """Decode a thread's state."""
    return msgspec.msgpack.decode(packed, type=ThreadState)


class Places:
    """Maps the thread ids and namespaces that graphs know to the namespaces of one run.

    The thread's own id means the run. A node may give an inner graph another id, together with the
    run's checkpointer: this id is stored before the namespace, between colons. No node's name has a
    colon, as LangGraph puts it before the id of a task.
    """

    def __init__(self, thread_id: str) -> None:
        self._thread_id = thread_id

    def stored(self, config: RunnableConfig) -> str:
        """Return the stored namespace for a config."""
        thread_id = str(config["configurable"]["thread_id"])
        namespace: str = config["configurable"].get("checkpoint_ns", "")
        if thread_id == self._thread_id:
            return namespace
        return f"{NS_END}{quote(thread_id, safe='')}{NS_END}{namespace}"

    def to_graphs(self, stored: str) -> tuple[str, str]:
        """Return the thread id and the namespace that graphs use, for a stored namespace."""
        if not stored.startswith(NS_END):
            return self._thread_id, stored
        _, thread_id, namespace = stored.split(NS_END, 2)
        return unquote(thread_id), namespace

    def config(self, stored: str, checkpoint_id: str | None) -> RunnableConfig:
        """Return the config for a checkpoint in a stored namespace."""
        thread_id, namespace = self.to_graphs(stored)
        place = {"thread_id": thread_id, "checkpoint_ns": namespace}
        return {"configurable": {**place, "checkpoint_id": checkpoint_id}}

    def lasts(self, stored: str) -> bool:
        """Return whether the next run has a stored namespace too: it contains no id of a task."""
        return NS_END not in self.to_graphs(stored)[1]
