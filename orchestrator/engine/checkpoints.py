"""LangGraph's checkpointer on the event log's own database.

A finished task's result, the events that announce it and the check of the fence are one
transaction. So after a crash the run continues exactly where the log says, and a worker that lost
its run can write neither.

A saver belongs to one run. Graphs use it by the thread's id, like any checkpointer; their writes
belong to the run until it completes. The state that the thread's last run has left is read as if it
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
from antiphon.orchestrator.engine.inner_graphs import (
    allow_graphs_that_save_nothing,
    begin_anew_unless_begun,
)
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
    """Checkpoints of one run, read from the database and written through the run's writer.

    All work is done on the event loop that made it. Graphs that run elsewhere, because a plain
    function called them or because they have an event loop of their own, wait for that loop.
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
        """Take the state that the thread's last run left. `fresh`: nothing is written yet."""
        super().__init__(serde=serializer())
        self._run_id = writer.fence.run_id
        self._places = Places(thread_id)
        self._base = base
        self._written: set[str] | None = set() if fresh else None
        """The namespaces with checkpoints of this run; None if they are not known yet."""
        self._database = database
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self.on_read: Callable[[RunnableConfig], object] = lambda config: None
        """Called if a graph looks for a checkpoint, before it gets one."""

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return a channel's next version: a counter, padded so that it sorts as text."""
        return f"{int(current or 0) + 1:032}"

    # -- the two halves that graphs use ----------------------------------------------------------

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the checkpoint of `config`, or the newest one of its namespace."""
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
        """Yield checkpoints of this run, the newest first, and optionally by their metadata."""
        for checkpoint in await self._at_home(self._list(config, filter, before, limit)):
            yield checkpoint

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
        """Store a task's writes, with the events held for it. Raises what `aput` does."""
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
        """Await something on the saver's own event loop, from any loop."""
        if asyncio.get_running_loop() is self._loop:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Block until the saver's event loop has completed something.

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
        checkpoint = self._tuple(stored)
        begin_anew_unless_begun(config, checkpoint)
        return checkpoint

    async def _stored(self, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        """Return a checkpoint of this run, or else of the base; the newest one without an id."""
        written = self._written is None or namespace in self._written
        if written:
            own = await self._database.fetch(
                reads.checkpoint, self._run_id, namespace, checkpoint_id
            )
            if own is not None:
                return own
        inherited = self._inherited(namespace, checkpoint_id)
        if inherited is None or not written:
            return inherited
        id_ = inherited.checkpoint.id
        more = await self._database.fetch(reads.checkpoint_writes, self._run_id, namespace, id_)
        return msgspec.structs.replace(inherited, writes=(*inherited.writes, *more))

    def _inherited(self, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
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
        matching: list[CheckpointTuple] = []
        for stored in await self._candidates(config, get_checkpoint_id(before) if before else None):
            if limit is not None and len(matching) >= limit:
                break
            if only in (None, stored.checkpoint.id):
                checkpoint = self._tuple(stored)
                metadata = checkpoint.metadata
                if all(metadata.get(key) == value for key, value in (filter or {}).items()):
                    matching.append(checkpoint)
        return matching

    async def _candidates(
        self,
        config: RunnableConfig,
        until: str | None,
    ) -> Sequence[StoredCheckpoint]:
        """Return checkpoints of a thread or of one of its namespaces, the newest first.

        `until` is a checkpoint's id: only earlier ones are returned.
        """
        wanted = self._places.stored(config) if "checkpoint_ns" in config["configurable"] else None
        own = await self._database.fetch(reads.checkpoints_of, self._run_id, wanted, until, None)
        heads = {head.checkpoint.namespace: head for head in reversed(self._base)}
        inherited = [head for head in heads.values() if until is None or head.checkpoint.id < until]
        inherited.sort(key=lambda head: head.checkpoint.id, reverse=True)
        both = (*own, *inherited)
        if wanted is not None:
            return [stored for stored in both if stored.checkpoint.namespace == wanted]
        thread_id = str(config["configurable"]["thread_id"])
        to_graphs = self._places.to_graphs
        return [stored for stored in both if to_graphs(stored.checkpoint.namespace)[0] == thread_id]

    def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        c, config = stored.checkpoint, self._places.config
        load = self.serde.loads_typed
        return CheckpointTuple(
            config=config(c.namespace, c.id),
            checkpoint=load_checkpoint(self.serde, c.kind, c.value),
            metadata=load(("msgpack", c.metadata)),
            parent_config=config(c.namespace, c.parent_id) if c.parent_id else None,
            pending_writes=[
                (w.task_id, w.channel, load((w.kind, w.value)))
                for w in self._writer.writes_of(stored)
            ],
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
        completed = "__start__" not in task_path  # reading the input is no progress
        await self._writer.put_writes(namespace, id_, records, completed)

    def _writes(
        self,
        writes: Writes,
        task_id: str,
        task_path: str = "",
    ) -> Sequence[CheckpointWrite]:
        records = []
        for number, (channel, value) in enumerate(writes):
            stored_value = storable(value) if channel == INTERRUPT else value
            kind, blob = dump_value(self.serde, channel, stored_value)
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
        """Return the state for the thread's next run of this graph, after this one is complete.

        It has the graph's own namespace, and those of subgraphs with `checkpointer=True`.
        """
        written = self._written
        if written is None:
            written = set(await self._database.fetch(reads.checkpoint_namespaces, self._run_id))
        left: list[StoredCheckpoint] = []
        for namespace in sorted(written | {stored.checkpoint.namespace for stored in self._base}):
            last = await self._stored(namespace, None) if self._places.lasts(namespace) else None
            if last is not None:
                left.extend(await self._with_history(last))
        return tuple(left)

    async def _with_history(self, last: StoredCheckpoint) -> Sequence[StoredCheckpoint]:
        """Return a checkpoint, and an earlier one that its delta channels are made from."""
        newest = self._tuple(last)
        counted = newest.metadata.get("counters_since_delta_snapshot") or {}
        channels = [name for name in counted if name not in newest.checkpoint["channel_values"]]
        parent_id = last.checkpoint.parent_id
        if not channels or parent_id is None:
            alone = msgspec.structs.replace(last.checkpoint, parent_id=None)
            return [msgspec.structs.replace(last, checkpoint=alone)]
        histories = await self.aget_delta_channel_history(config=newest.config, channels=channels)
        seeds = {name: past["seed"] for name, past in histories.items() if "seed" in past}
        earlier: GraphCheckpoint = {**newest.checkpoint, "id": parent_id, "channel_values": seeds}
        record = self._record(last.checkpoint.namespace, None, earlier, {"source": "loop"})
        writes: list[CheckpointWrite] = []
        for past in histories.values():
            for task_id, channel, value in past["writes"]:
                writes.extend(self._writes([(channel, value)], task_id))
        return [last, StoredCheckpoint(checkpoint=record, writes=tuple(writes))]
