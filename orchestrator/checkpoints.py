"""LangGraph's checkpointer on the event log's own database.

A finished task's result, the events that announce it and the run's fence are one transaction: after a crash the place
where execution continues is exactly the place that the log shows, and a worker that lost its run cannot write either.

A saver belongs to one run. Graphs know it by the thread's id, as they would any checkpointer; what they write is the
run's until it completes. What the thread's last run has left (`ThreadState`) is read as if it had been written here.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote, unquote

import msgspec
from langchain_core.runnables import RunnableConfig
from langgraph._internal._constants import CONFIG_KEY_CHECKPOINT_MAP, CONFIG_KEY_RESUMING, NS_END
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
from langgraph.pregel._loop import AsyncPregelLoop, SyncPregelLoop

from data.base import Checkpoints
from data.records import Checkpoint, CheckpointWrite, StoredCheckpoint
from orchestrator.errors import SyncInAsync
from orchestrator.serde import check_size, dump_checkpoint, dump_metadata, dump_value, load_checkpoint, serializer
from orchestrator.writer import RunWriter

T = TypeVar("T")

ThreadState = tuple[StoredCheckpoint, ...]
"""What one run leaves for the next: for each lasting namespace its last checkpoint, and before that, if there is one, a
made-up checkpoint which holds what LangGraph would otherwise look for further back (`DeltaChannel`)."""


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


class RunCheckpoints(BaseCheckpointSaver[str]):
    """Checkpoints of one run: read from the database, written through the run's writer.

    Everything happens on the event loop that made it. Graphs that run elsewhere, because a plain function called them
    or because they have an event loop of their own, wait for it.
    """

    def __init__(
        self,
        database: Checkpoints,
        writer: RunWriter,
        thread_id: str,
        *,
        base: ThreadState = (),
        fresh: bool = False,
    ) -> None:
        """`base` is what the thread's last run has left. `fresh` says that this one has written nothing yet."""
        super().__init__(serde=serializer())
        self._run_id = writer.fence.run_id
        self._thread_id = thread_id
        self._base = base
        self._written: set[str] | None = set() if fresh else None
        """The namespaces that hold something of this run; None if the database must be asked."""
        self._database = database
        self._writer = writer
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Channel versions: a counter, padded so that it sorts as text."""
        return f"{int(current or 0) + 1:032}"

    # -- the two halves that graphs use -------------------------------------------------------------------------

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
        """Store a checkpoint under the run's fence. Raises `StateNotStorable`, `StateTooLarge`, `Fenced`."""
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
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote, together with the events that waited for it. Raises what `aput` raises."""
        await self._at_home(self._put_writes(config, writes, task_id, task_path))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
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
        """Wait for something that happens on the saver's own event loop. Raises `SyncInAsync` if this is its thread."""
        if threading.get_ident() == self._thread:
            work.close()
            raise SyncInAsync
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # -- reading ------------------------------------------------------------------------------------------------

    async def _get(self, config: RunnableConfig) -> CheckpointTuple | None:
        stored = await self._stored(self._namespace(config), get_checkpoint_id(config))
        if stored is None:
            return None
        found = self._tuple(stored)
        _begin_anew_unless_begun(config, found)
        return found

    async def _stored(self, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        """A checkpoint of this run, else of what was left to it."""
        written = self._written is None or namespace in self._written
        own = await self._database.checkpoint(self._run_id, namespace, checkpoint_id) if written else None
        if own is not None:
            return own
        places = ((one.checkpoint.namespace, one.checkpoint.id, one) for one in self._base)
        left = next((one for ns, id_, one in places if ns == namespace and checkpoint_id in (None, id_)), None)
        if left is None or not written:
            return left
        more = await self._database.checkpoint_writes(self._run_id, namespace, left.checkpoint.id)
        return msgspec.structs.replace(left, writes=(*left.writes, *more))

    async def _list(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None,
        before: RunnableConfig | None,
        limit: int | None,
    ) -> Sequence[CheckpointTuple]:
        if config is None:
            return []
        one = get_checkpoint_id(config)
        until = get_checkpoint_id(before) if before else None
        found: list[CheckpointTuple] = []
        for stored in await self._candidates(config, until):
            if limit is not None and len(found) >= limit:
                break
            if one is None or stored.checkpoint.id == one:
                as_tuple = self._tuple(stored)
                if all(as_tuple.metadata.get(key) == value for key, value in (filter or {}).items()):
                    found.append(as_tuple)
        return found

    async def _candidates(self, config: RunnableConfig, until: str | None) -> Sequence[StoredCheckpoint]:
        """Checkpoints of a thread, or of one of its namespaces, before checkpoint `until`, the newest first."""
        namespace = self._namespace(config) if "checkpoint_ns" in config["configurable"] else None
        thread_id = str(config["configurable"]["thread_id"])
        own = await self._database.checkpoints(self._run_id, namespace, until, None)
        heads = {left.checkpoint.namespace: left for left in reversed(self._base)}
        left = [one for one in heads.values() if until is None or one.checkpoint.id < until]
        return [
            one
            for one in (*own, *sorted(left, key=lambda one: one.checkpoint.id, reverse=True))
            if namespace in (None, one.checkpoint.namespace) and self._place(one.checkpoint)[0] == thread_id
        ]

    def _tuple(self, stored: StoredCheckpoint) -> CheckpointTuple:
        c = stored.checkpoint
        place = self._place(c)
        return CheckpointTuple(
            config=_config(*place, c.id),
            checkpoint=load_checkpoint(self.serde, c.kind, c.value),
            metadata=self.serde.loads_typed(("msgpack", c.metadata)),
            parent_config=_config(*place, c.parent_id) if c.parent_id else None,
            pending_writes=[(w.task_id, w.channel, self.serde.loads_typed((w.kind, w.value))) for w in stored.writes],
        )

    def _namespace(self, config: RunnableConfig) -> str:
        """Where a checkpoint is stored. Another thread's id, which a node gave an inner graph, stays apart."""
        thread_id = str(config["configurable"]["thread_id"])
        namespace: str = config["configurable"].get("checkpoint_ns", "")
        if thread_id == self._thread_id:
            return namespace
        return f"{NS_END}{quote(thread_id, safe='')}{NS_END}{namespace}"  # no name of a node begins with `:`

    def _place(self, checkpoint: Checkpoint) -> tuple[str, str]:
        """The thread's id and the namespace of a stored checkpoint, as graphs know them."""
        if not checkpoint.namespace.startswith(NS_END):
            return self._thread_id, checkpoint.namespace
        _, thread_id, namespace = checkpoint.namespace.split(NS_END, 2)
        return unquote(thread_id), namespace

    # -- writing ------------------------------------------------------------------------------------------------

    async def _put(
        self, config: RunnableConfig, checkpoint: GraphCheckpoint, metadata: CheckpointMetadata
    ) -> RunnableConfig:
        namespace = self._namespace(config)
        described = get_checkpoint_metadata(config, metadata)
        record = self._record(namespace, get_checkpoint_id(config), checkpoint, described)
        self._note(namespace)
        await self._writer.put_checkpoint(record)
        return _config(*self._place(record), checkpoint["id"])

    def _record(
        self, namespace: str, parent_id: str | None, checkpoint: GraphCheckpoint, metadata: CheckpointMetadata
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
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str
    ) -> None:
        namespace = self._namespace(config)
        records = [
            self._write(channel, value, task_id, task_path, position)
            for position, (channel, value) in enumerate(writes)
        ]
        check_size({record.channel: len(record.value) for record in records})
        self._note(namespace)
        completed = "__start__" not in task_path  # taking the input in is no progress
        await self._writer.put_writes(namespace, get_checkpoint_id(config) or "", records, completed)

    def _write(self, channel: str, value: Any, task_id: str, task_path: str, position: int) -> CheckpointWrite:
        kind, blob = dump_value(self.serde, channel, value)
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

    def _note(self, namespace: str) -> None:
        if self._written is not None:
            self._written.add(namespace)

    # -- what is left for the next run --------------------------------------------------------------------------

    async def leave(self) -> ThreadState:
        """The state that the thread's next run of this graph begins from, now that this one is complete.

        A namespace lasts if no task's id stands in it: the graph's own, and those of subgraphs with
        `checkpointer=True`.
        """
        written = self._written
        if written is None:
            written = set(await self._database.namespaces(self._run_id))
        left: list[StoredCheckpoint] = []
        for namespace in sorted(written | {one.checkpoint.namespace for one in self._base}):
            last = await self._stored(namespace, None) if _lasts(namespace) else None
            if last is not None:
                left.extend(await self._with_history(last))
        return tuple(left)

    async def _with_history(self, last: StoredCheckpoint) -> Sequence[StoredCheckpoint]:
        """A checkpoint, and before it what its delta channels are made of: their last whole value and later writes."""
        found = self._tuple(last)
        counted = found.metadata.get("counters_since_delta_snapshot") or {}
        channels = [name for name in counted if name not in found.checkpoint["channel_values"]]
        parent = found.parent_config
        if not channels or parent is None:
            return [msgspec.structs.replace(last, checkpoint=msgspec.structs.replace(last.checkpoint, parent_id=None))]
        history = await self.aget_delta_channel_history(config=found.config, channels=channels)
        return [last, self._earlier(parent, found.checkpoint, history)]

    def _earlier(
        self, config: RunnableConfig, last: GraphCheckpoint, history: Mapping[str, DeltaChannelHistory]
    ) -> StoredCheckpoint:
        earlier: GraphCheckpoint = {
            **last,
            "id": get_checkpoint_id(config) or "",
            "channel_values": {name: found["seed"] for name, found in history.items() if "seed" in found},
        }
        writes = [
            self._write(channel, value, task_id, "", position)
            for found in history.values()
            for position, (task_id, channel, value) in enumerate(found["writes"])
        ]
        record = self._record(self._namespace(config), None, earlier, {"source": "loop"})
        return StoredCheckpoint(checkpoint=record, writes=tuple(writes))


def _begin_anew_unless_begun(config: RunnableConfig, last: CheckpointTuple) -> None:
    """Let a subgraph take its input in, unless its last checkpoint is of the very call that is made again.

    When a run goes on after a crash or a question, LangGraph tells every subgraph to go on too. One that keeps its
    state then takes what it had left in an earlier turn, or in an earlier step, for this call's, and ignores its input.
    LangGraph takes the word back in this way itself where it replays a run.
    """
    conf = config["configurable"]
    same_call = (last.metadata.get("parents") or {}) == conf.get(CONFIG_KEY_CHECKPOINT_MAP, {})
    if conf.get("checkpoint_ns") and not same_call:
        conf.pop(CONFIG_KEY_RESUMING, None)


def _lasts(namespace: str) -> bool:
    """Whether a stored namespace has no task's id in it, also after another thread's id."""
    within = namespace.split(NS_END, 2)[2] if namespace.startswith(NS_END) else namespace
    return NS_END not in within


def _config(thread_id: str, namespace: str, checkpoint_id: str) -> RunnableConfig:
    return {"configurable": {"thread_id": thread_id, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


class _NothingToSave:
    """The pending save of a graph that saves nothing: it is done.

    `durability="sync"` reaches inner graphs through the config. There LangGraph waits for the save of each step, also
    in a graph with `checkpointer=False`, whose loop then lacks the attribute (langgraph 1.2).
    """

    def result(self) -> None:
        """Return at once."""

    def __await__(self) -> Iterator[None]:
        return iter(())


for _loop in (AsyncPregelLoop, SyncPregelLoop):
    if not hasattr(_loop, "_put_checkpoint_fut"):
        setattr(_loop, "_put_checkpoint_fut", _NothingToSave())  # noqa: B010 - it is a class of LangGraph's
