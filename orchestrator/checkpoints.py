"""LangGraph's checkpointer on the event log's own database.

A finished task's result, the events that announce it and the run's fence are one transaction: after a crash the place
where execution continues is exactly the place that the log shows, and a worker that lost its run cannot write either.
LangGraph's `thread_id` is our run id, so a saver belongs to one run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    CheckpointMetadata,
    CheckpointTuple,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.base import Checkpoint as GraphCheckpoint
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from data.base import Checkpoints
from data.records import Checkpoint, CheckpointWrite, StoredCheckpoint
from orchestrator.writer import RunWriter


class RunCheckpoints(BaseCheckpointSaver[str]):
    """Checkpoints of one run: read from the database, written through the run's writer."""

    def __init__(self, database: Checkpoints, writer: RunWriter, *, fresh: bool = False) -> None:
        """`fresh` says that nothing is stored yet, which spares a new run its first reads."""
        super().__init__(serde=JsonPlusSerializer())
        self._fresh = fresh
        self._database = database
        self._writer = writer

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Channel versions: a counter, padded so that it sorts as text."""
        return f"{int(current or 0) + 1:032}"

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the newest one of its namespace."""
        if self._fresh:
            return None
        run_id, namespace = _place(config)
        stored = await self._database.checkpoint(run_id, namespace, get_checkpoint_id(config))
        return self._tuple(run_id, stored) if stored else None

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints of this run, the newest first, optionally those whose metadata matches."""
        if config is None:
            return
        conf = config["configurable"]
        until = get_checkpoint_id(before) if before else None
        page = None if filter else limit
        stored = await self._database.checkpoints(conf["thread_id"], conf.get("checkpoint_ns"), until, page)
        found = 0
        for one in stored:
            found_tuple = self._tuple(conf["thread_id"], one)
            if filter and any(found_tuple.metadata.get(key) != value for key, value in filter.items()):
                continue
            if limit is not None and found >= limit:
                return
            found += 1
            yield found_tuple

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint under the run's fence."""
        self._fresh = False
        run_id, namespace = _place(config)
        kind, value = self.serde.dumps_typed(checkpoint)
        _, described = self.serde.dumps_typed(get_checkpoint_metadata(config, metadata))
        await self._writer.put_checkpoint(
            Checkpoint(
                namespace=namespace,
                id=checkpoint["id"],
                parent_id=get_checkpoint_id(config),
                kind=kind,
                value=value,
                metadata=described,
            )
        )
        return _config(run_id, namespace, checkpoint["id"])

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote, together with the events that waited for it."""
        _, namespace = _place(config)
        records = [
            self._write(channel, value, task_id, task_path, position)
            for position, (channel, value) in enumerate(writes)
        ]
        completed = "__start__" not in task_path  # taking the input in is no progress
        await self._writer.put_writes(namespace, get_checkpoint_id(config) or "", records, completed)

    def _write(self, channel: str, value: Any, task_id: str, task_path: str, position: int) -> CheckpointWrite:
        kind, blob = self.serde.dumps_typed(value)
        place = WRITES_IDX_MAP.get(channel, position)
        return CheckpointWrite(
            task_id=task_id,
            task_path=task_path,
            position=place,
            channel=channel,
            kind=kind,
            value=blob,
            replace=place < 0,
        )

    def _tuple(self, run_id: str, stored: StoredCheckpoint) -> CheckpointTuple:
        c = stored.checkpoint
        return CheckpointTuple(
            config=_config(run_id, c.namespace, c.id),
            checkpoint=self.serde.loads_typed((c.kind, c.value)),
            metadata=self.serde.loads_typed(("msgpack", c.metadata)),
            parent_config=_config(run_id, c.namespace, c.parent_id) if c.parent_id else None,
            pending_writes=[(w.task_id, w.channel, self.serde.loads_typed((w.kind, w.value))) for w in stored.writes],
        )


def _place(config: RunnableConfig) -> tuple[str, str]:
    conf = config["configurable"]
    return conf["thread_id"], conf.get("checkpoint_ns", "")


def _config(run_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": run_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}
