"""LangGraph's checkpointer on the event log's own database.

A finished task's result, the events that announce it and the run's fence are one transaction: after
a crash the place where execution continues is exactly the place that the log shows, and a worker
that lost its run cannot write either.

A saver belongs to one run. Graphs know it by the thread's id, as they would any checkpointer; what
they write is the run's until it completes. What the thread's last run has left is read as if it
had been written here.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    WRITES_IDX_MAP,
    BaseCheckpointSaver,
    ChannelVersions,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
    get_checkpoint_id,
    get_checkpoint_metadata,
)
from langgraph.checkpoint.base import Checkpoint as GraphCheckpoint

from antiphon.data import reads
from antiphon.data.database import Database
from antiphon.data.records import Checkpoint, CheckpointWrite, StoredCheckpoint
from antiphon.orchestrator.engine.inner_graphs import allow_graphs_that_save_nothing, begin_anew_unless_begun
from antiphon.orchestrator.engine.serde import (
    check_size,
    dump_checkpoint,
    dump_metadata,
    dump_value,
    load_checkpoint,
    serializer,
)
from antiphon.orchestrator.engine.thread_state import Places, ThreadState
from antiphon.orchestrator.errors import SyncInAsync
from antiphon.orchestrator.questions.pausing import storable
from antiphon.orchestrator.recording.writer import INTERRUPT, RunWriter

T = TypeVar("T")
Writes = Sequence[tuple[str, Any]]

allow_graphs_that_save_nothing()


class RunCheckpoints(BaseCheckpointSaver[str]):
    """Checkpoints of one run: read from the database, written through the run's writer.

    Everything happens on the event loop that made it. Graphs that run elsewhere, because a plain
    function called them or because they have an event loop of their own, wait for it.
    """

    def __init__(
        self,
        database: Database,
        writer: RunWriter,
        thread_id: str,
        *,
        base: ThreadState = (),
        fresh: bool = False,
    ) -> None:
        """`base` is what the thread's last run left; `fresh` means nothing is written yet."""
        super().__init__(serde=serializer())
        self._run_id = writer.fence.run_id
        self._places = Places(thread_id)
        self._base = base
        self._written: set[str] | None = set() if fresh else None
        """The namespaces that hold something of this run; None if the database must be asked."""
        self._database = database
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.on_read: Callable[[RunnableConfig], object] = lambda config: None
        """Called when a graph looks for a checkpoint, before it gets one."""

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Channel versions: a counter, padded so that it sorts as text."""
        return f"{int(current or 0) + 1:032}"

    # -- the two halves that graphs use ----------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """The checkpoint that `config` names, or the newest one of its namespace."""
        return await self._at_home(self._get(config))

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """`aget_tuple` for a plain function."""
        return self._wait(self._get(config))

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Checkpoints of this run, the newest first, optionally those whose metadata matches."""
        for found in await self._at_home(self._list(config, filter, before, limit)):
            yield found

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """`alist` for a plain function."""
        return iter(self._wait(self._list(config, filter, before, limit)))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint. Raises `StateNotStorable`, `StateTooLarge`, `Fenced`."""
        return await self._at_home(self._put(config, checkpoint, metadata))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """`aput` for a plain function."""
        return self._wait(self._put(config, checkpoint, metadata))

    async def aput_writes(
        self,
        config: RunnableConfig,
        writes: Writes,
        task_id: str,
        task_path: str = "",
    ) -> None:
        """Store what a task wrote, with the events that waited for it. Raises what `aput` does."""
        await self._at_home(self._put_writes(config, writes, task_id, task_path))

    def put_writes(
        self,
        config: RunnableConfig,
        writes: Writes,
        task_id: str,
        task_path: str = "",
    ) -> None:
        """`aput_writes` for a plain function."""
        self._wait(self._put_writes(config, writes, task_id, task_path))

    def get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Mapping[str, DeltaChannelHistory]:
        """`aget_delta_channel_history` for a plain function."""
        return self._wait(self.aget_delta_channel_history(config=config, channels=channels))

    async def _at_home(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something on the saver's own event loop, from whichever one this is."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Block until the saver's event loop has done something.

        Raises `SyncInAsync` in the loop's own thread, which would wait for itself.
        """
        if threading.get_ident() == self._thread:
            work.close()
            raise SyncInAsync
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- reading ---------------------------------------------------------------------------------

    async def _get(self, config: RunnableConfig) -> CheckpointTuple | None:
        self.on_read(config)
        stored = await self._stored(self._places.stored(config), get_checkpoint_id(config))
        if stored is None:
            return None
        found = self._tuple(stored)
        begin_anew_unless_begun(config, found)
        return found

    async def _stored(self, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        """A checkpoint of this run, else one of the base; the newest if there is no id."""
        written = self._written is None or namespace in self._written
        if written:
            own = await self._database.fetch(reads.checkpoint, self._run_id, namespace, checkpoint_id)
            if own is not None:
                return own
        left = self._left(namespace, checkpoint_id)
        if left is None or not written:
            return left
        id_ = left.checkpoint.id
        more = await self._database.fetch(reads.checkpoint_writes, self._run_id, namespace, id_)
        return msgspec.structs.replace(left, writes=(*left.writes, *more))

    def _left(self, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        for stored in self._base:
            c = stored.checkpoint
            if c.namespace == namespace and checkpoint_id in (None, c.id):
                return stored
        return None

    async def _list(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[CheckpointTuple]:
        if config is None:
            return []
        only = get_checkpoint_id(config)
        found: list[CheckpointTuple] = []
        for stored in await self._candidates(config, get_checkpoint_id(before) if before else None):
            if limit is not None and len(found) >= limit:
                break
            if only in (None, stored.checkpoint.id):
                one = self._tuple(stored)
                if all(one.metadata.get(key) == value for key, value in (filter or {}).items()):
                    found.append(one)
        return found

    async def _candidates(
        self,
        config: RunnableConfig,
        until: str | None,
    ) -> Sequence[StoredCheckpoint]:
        """Checkpoints of a thread or of one of its namespaces, the newest first.

        `until` is a checkpoint's id: only earlier ones are wanted.
        """
        wanted = self._places.stored(config) if "checkpoint_ns" in config["configurable"] else None
        own = await self._database.fetch(reads.checkpoints_of, self._run_id, wanted, until, None)
        heads = {left.checkpoint.namespace: left for left in reversed(self._base)}
        left = [one for one in heads.values() if until is None or one.checkpoint.id < until]
        left.sort(key=lambda one: one.checkpoint.id, reverse=True)
        if wanted is not None:
            return [one for one in (*own, *left) if one.checkpoint.namespace == wanted]
        thread_id = str(config["configurable"]["thread_id"])
        known = self._places.known
        return [one for one in (*own, *left) if known(one.checkpoint.namespace)[0] == thread_id]

    def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        c, config = stored.checkpoint, self._places.config
        load = self.serde.loads_typed
        return CheckpointTuple(
            config=config(c.namespace, c.id),
            checkpoint=load_checkpoint(self.serde, c.kind, c.value),
            metadata=load(("msgpack", c.metadata)),
            parent_config=config(c.namespace, c.parent_id) if c.parent_id else None,
            pending_writes=[(w.task_id, w.channel, load((w.kind, w.value))) for w in self._writer.writes_of(stored)],
        )

    # -- writing ---------------------------------------------------------------------------------

    async def _put(
        self, config: RunnableConfig, checkpoint: GraphCheckpoint, metadata: CheckpointMetadata
    ) -> RunnableConfig:
        namespace, parent_id = self._places.stored(config), get_checkpoint_id(config)
        metadata = get_checkpoint_metadata(config, metadata)
        record = self._record(namespace, parent_id, checkpoint, metadata)
        self._note(namespace)
        await self._writer.put_checkpoint(record)
        return self._places.config(namespace, checkpoint["id"])

    def _record(
        self,
        namespace: str,
        parent_id: str | None,
        checkpoint: GraphCheckpoint,
        metadata: CheckpointMetadata,
    ) -> Checkpoint:
        kind, value = dump_checkpoint(self.serde, checkpoint)
        return Checkpoint(
            namespace=namespace,
            id=checkpoint["id"],
            parent_id=parent_id,
            kind=kind,
            value=value,
            metadata=dump_metadata(self.serde, metadata),
        )

    async def _put_writes(
        self,
        config: RunnableConfig,
        writes: Writes,
        task_id: str,
        task_path: str,
    ) -> None:
        namespace = self._places.stored(config)
        records = self._writes(writes, task_id, task_path)
        check_size({record.channel: len(record.value) for record in records})
        self._note(namespace)
        id_ = get_checkpoint_id(config) or ""
        completed = "__start__" not in task_path  # taking the input in is no progress
        await self._writer.put_writes(namespace, id_, records, completed)

    def _writes(
        self,
        writes: Writes,
        task_id: str,
        task_path: str = "",
    ) -> Sequence[CheckpointWrite]:
        records = []
        for number, (channel, value) in enumerate(writes):
            kind, blob = dump_value(self.serde, channel, storable(value) if channel == INTERRUPT else value)
            position = WRITES_IDX_MAP.get(channel, number)
            record = CheckpointWrite(
                task_id=task_id,
                task_path=task_path,
                position=position,
                channel=channel,
                kind=kind,
                value=blob,
                replace=position < 0,
            )
            records.append(record)
        return records

    def _note(self, namespace: str) -> None:
        if self._written is not None:
            self._written.add(namespace)

    # -- what is left for the next run -----------------------------------------------------------

    async def leave(self) -> ThreadState:
        """The state for the thread's next run of this graph, now that this one is complete.

        It has the graph's own namespace, and those of subgraphs with `checkpointer=True`.
        """
        written = self._written
        if written is None:
            written = set(await self._database.fetch(reads.checkpoint_namespaces, self._run_id))
        left: list[StoredCheckpoint] = []
        for namespace in sorted(written | {one.checkpoint.namespace for one in self._base}):
            last = await self._stored(namespace, None) if self._places.lasts(namespace) else None
            if last is not None:
                left.extend(await self._with_history(last))
        return tuple(left)

    async def _with_history(self, last: StoredCheckpoint) -> Sequence[StoredCheckpoint]:
        """A checkpoint and, if it has delta channels, an earlier one that they are made from."""
        found = self._tuple(last)
        counted = found.metadata.get("counters_since_delta_snapshot") or {}
        channels = [name for name in counted if name not in found.checkpoint["channel_values"]]
        parent_id = last.checkpoint.parent_id
        if not channels or parent_id is None:
            alone = msgspec.structs.replace(last.checkpoint, parent_id=None)
            return [msgspec.structs.replace(last, checkpoint=alone)]
        history = await self.aget_delta_channel_history(config=found.config, channels=channels)
        seeds = {name: one["seed"] for name, one in history.items() if "seed" in one}
        earlier: GraphCheckpoint = {**found.checkpoint, "id": parent_id, "channel_values": seeds}
        record = self._record(last.checkpoint.namespace, None, earlier, {"source": "loop"})
        writes = [
            record
            for one in history.values()
            for task_id, channel, value in one["writes"]
            for record in self._writes([(channel, value)], task_id)
        ]
        return [last, StoredCheckpoint(checkpoint=record, writes=tuple(writes))]
