"""LangGraph's conformance kit on our checkpointer, and the fence, which the kit does not test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointTuple
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.test_utils import (
    generate_checkpoint,
    generate_config,
    generate_metadata,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel._loop import AsyncPregelLoop

from antiphon.data import open_database
from antiphon.data.database import Database
from antiphon.data.errors import Fenced
from antiphon.orchestrator.engine.checkpoints import RunCheckpoints
from antiphon.orchestrator.engine.thread_state import pack, unpack
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.errors import SyncInAsync
from antiphon.orchestrator.events import AgentComplete
from antiphon.orchestrator.recording.view import RunView
from antiphon.orchestrator.recording.writer import RunWriter
from tests.orchestrator.support import accepted, logged, writing

APPLICABLE = {"put", "put_writes", "get_tuple", "list"}
"""The capabilities that the kit tests. Deleting, copying and pruning threads do not apply: a run's
checkpoints are deleted in the transaction that ends the run."""


class EachThreadARun(BaseCheckpointSaver[str]):
    """A saver for many threads, which the kit needs: each of its threads becomes a run."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._runs: dict[str, RunCheckpoints] = {}
        self.writers: list[RunWriter] = []

    async def _of(self, config: RunnableConfig) -> RunCheckpoints:
        run_id = config["configurable"]["thread_id"]
        if run_id not in self._runs:
            run = await accepted(self._database, run_id=run_id)
            self.writers.append(
                RunWriter(self._database, run, Environment(clock=lambda: 2), RunView())
            )
            self._runs[run_id] = RunCheckpoints(self._database, self.writers[-1], run_id)
        return self._runs[run_id]

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await (await self._of(config)).aget_tuple(config)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        assert config is not None
        async for found in (await self._of(config)).alist(config, **options):
            yield found

    async def aput(self, config: RunnableConfig, *given: Any) -> RunnableConfig:
        return await (await self._of(config)).aput(config, *given)

    async def aput_writes(self, config: RunnableConfig, *given: Any, **options: Any) -> None:
        await (await self._of(config)).aput_writes(config, *given, **options)


class ForPlainFunctions(EachThreadARun):
    """The same by the methods for plain functions, in threads of their own."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await asyncio.to_thread((await self._of(config)).get_tuple, config)

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        assert config is not None
        for found in await asyncio.to_thread((await self._of(config)).list, config, **options):
            yield found

    async def aput(self, config: RunnableConfig, *given: Any) -> RunnableConfig:
        return await asyncio.to_thread((await self._of(config)).put, config, *given)

    async def aput_writes(self, config: RunnableConfig, *given: Any, **options: Any) -> None:
        await asyncio.to_thread((await self._of(config)).put_writes, config, *given, **options)


class FromAnotherLoop(EachThreadARun):
    """The same from an event loop that is not the saver's."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        saver = await self._of(config)
        return await asyncio.to_thread(lambda: asyncio.run(saver.aget_tuple(config)))

    async def alist(
        self, config: RunnableConfig | None, **options: Any
    ) -> AsyncIterator[CheckpointTuple]:
        assert config is not None
        saver = await self._of(config)

        async def all_of_them() -> list[CheckpointTuple]:
            return [found async for found in saver.alist(config, **options)]

        for found in await asyncio.to_thread(lambda: asyncio.run(all_of_them())):
            yield found

    async def aput(self, config: RunnableConfig, *given: Any) -> RunnableConfig:
        saver = await self._of(config)
        return await asyncio.to_thread(lambda: asyncio.run(saver.aput(config, *given)))

    async def aput_writes(self, config: RunnableConfig, *given: Any, **options: Any) -> None:
        saver = await self._of(config)
        await asyncio.to_thread(lambda: asyncio.run(saver.aput_writes(config, *given, **options)))


@pytest.mark.parametrize("half", [EachThreadARun, ForPlainFunctions, FromAnotherLoop])
@pytest.mark.parametrize("capability", sorted(APPLICABLE))
async def test_the_conformance_kit_passes(
    tmp_path: Path, capability: str, half: type[EachThreadARun]
) -> None:
    @checkpointer_test(name="RunCheckpoints")
    async def checkpointer() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        database = await open_database(f"sqlite:///{tmp_path / 'kit.db'}")
        saver = half(database)
        yield saver
        for writer in saver.writers:
            await writer.close()
        await database.close()

    result = (await validate(checkpointer, capabilities={capability})).results[capability]
    assert result.detected
    assert result.failures == []
    assert result.tests_passed > 0


async def test_versions_grow_and_sort_as_text(database: Database) -> None:
    async with writing(database) as writer:
        saver = RunCheckpoints(database, writer, "thread")
        versions: list[str] = []
        for _ in range(12):
            versions.append(saver.get_next_version(versions[-1] if versions else None, None))
    assert versions == sorted(set(versions))


async def put(saver: RunCheckpoints, run_id: str) -> tuple[RunnableConfig, Checkpoint]:
    checkpoint = generate_checkpoint(channel_values={"x": 1})
    return await saver.aput(
        generate_config(run_id), checkpoint, generate_metadata(), {}
    ), checkpoint


WRITES: Sequence[tuple[str, Any]] = [("messages", "hi")]


async def test_a_stale_fence_can_write_neither_checkpoints_nor_writes(database: Database) -> None:
    run = await accepted(database)
    async with writing(database, run) as writer:
        saver = RunCheckpoints(database, writer, run.id)
        config, checkpoint = await put(saver, run.id)
        taken = await database.claim(run.id, "another", held_by="worker")
        assert taken is not None
        with pytest.raises(Fenced):
            await put(saver, run.id)
        with pytest.raises(Fenced):
            await saver.aput_writes(config, WRITES, "task")
    async with writing(database, taken) as writer:
        found = [
            one
            async for one in RunCheckpoints(database, writer, run.id).alist(generate_config(run.id))
        ]
    assert [(one.checkpoint["id"], one.pending_writes) for one in found] == [(checkpoint["id"], [])]


async def test_a_tasks_writes_and_the_events_that_waited_for_it_are_stored_together(
    database: Database,
) -> None:
    run = await accepted(database)
    complete = AgentComplete(span="1.1", agent="a", text="")
    async with writing(database, run) as writer:
        saver = RunCheckpoints(database, writer, run.id)
        config, _ = await put(saver, run.id)
        writer.hold("node:task", complete)
        await writer.flush()
        assert await logged(database, run) == []
        await saver.aput_writes(config, WRITES, "task")
        assert await logged(database, run) == [complete]
        found = await saver.aget_tuple(config)
        assert found is not None
        assert found.pending_writes == [("task", "messages", "hi")]


async def test_a_fresh_run_reads_nothing_until_it_has_written(database: Database) -> None:
    run = await accepted(database)
    async with writing(database, run) as writer:
        saver = RunCheckpoints(database, writer, run.id, fresh=True)
        assert await saver.aget_tuple(generate_config(run.id)) is None
        config, checkpoint = await put(saver, run.id)
        found = await saver.aget_tuple(generate_config(run.id))
        assert found is not None
        assert (found.config, found.checkpoint) == (config, checkpoint)


async def test_only_a_run_can_be_listed(database: Database) -> None:
    async with writing(database) as writer:
        assert [one async for one in RunCheckpoints(database, writer, "thread").alist(None)] == []


# -- for plain functions, and after an earlier run -------------------------------------------------


async def test_a_plain_call_on_the_loops_own_thread_is_refused(database: Database) -> None:
    async with writing(database) as writer:
        saver = RunCheckpoints(database, writer, "thread")
        for call in (saver.get_tuple, saver.list):
            with pytest.raises(SyncInAsync):
                call(generate_config("thread"))


async def test_what_was_left_is_read_until_the_run_has_written(database: Database) -> None:
    """Also by a copy of the saver, which LangGraph makes if it is strict about types."""
    async with writing(database) as writer:
        first = RunCheckpoints(database, writer, "thread", fresh=True)
        for namespace in (
            "",
            "kept",
            "task:1",
            "kept|task:1",
            ":other:",
            ":other:kept|1",
            ":other:task:1",
        ):
            place = {"thread_id": "thread", "checkpoint_ns": namespace}
            if namespace.startswith(":"):
                place = {"thread_id": "other", "checkpoint_ns": namespace.removeprefix(":other:")}
            checkpoint = generate_checkpoint(channel_values={"x": namespace})
            await first.aput({"configurable": place}, checkpoint, generate_metadata(), {})
        left = await first.leave()
    lasting = ["", ":other:", ":other:kept|1", "kept"]
    assert [one.checkpoint.namespace for one in left] == lasting
    assert unpack(pack(left)) == left
    async with writing(database) as writer:
        second = RunCheckpoints(database, writer, "thread", base=left, fresh=True)
        second.serde = JsonPlusSerializer(allowed_msgpack_modules=None)
        copy = second.with_allowlist([("module", "Class")])
        assert copy is not second
        config: RunnableConfig = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}
        found = await second.aget_tuple(config)
        assert found is not None
        assert (found.checkpoint["channel_values"], found.parent_config) == ({"x": ""}, None)
        new = generate_checkpoint(channel_values={"x": "new"})
        await second.aput(found.config, new, generate_metadata(), {})
        newest = await copy.aget_tuple(config)
        assert newest is not None
        assert (newest.checkpoint["id"], newest.parent_config) == (new["id"], found.config)
        assert await copy.aget_tuple(found.config) == found
        listed = [one async for one in copy.alist(config)]
        assert [one.checkpoint["id"] for one in listed] == [new["id"], found.checkpoint["id"]]
        assert [one async for one in copy.alist(config, limit=1)] == listed[:1]
        assert [one async for one in copy.alist(config, before=listed[0].config)] == listed[1:]
        assert [one async for one in copy.alist(found.config)] == listed[1:]
        everywhere = [one async for one in copy.alist({"configurable": {"thread_id": "thread"}})]
        assert [one.config["configurable"]["checkpoint_ns"] for one in everywhere] == [
            "",
            "kept",
            "",
        ]
        assert [one.checkpoint.namespace for one in await second.leave()] == lasting


async def test_writes_to_a_checkpoint_that_was_left_are_the_runs_own(database: Database) -> None:
    """LangGraph stores a delta channel's input there, for the run's next execution."""
    async with writing(database) as writer:
        first = RunCheckpoints(database, writer, "thread", fresh=True)
        config = {"configurable": {"thread_id": "thread", "checkpoint_ns": ""}}
        await first.aput(config, generate_checkpoint(), generate_metadata(), {})
        left = await first.leave()
    run = await accepted(database)
    async with writing(database, run) as writer:
        second = RunCheckpoints(database, writer, "thread", base=left, fresh=True)
        found = await second.aget_tuple(config)
        assert found is not None
        await second.aput_writes(found.config, WRITES, "task")
        for saver in (second, RunCheckpoints(database, writer, "thread", base=left)):
            found = await saver.aget_tuple(config)
            assert found is not None
            assert found.pending_writes == [("task", "messages", "hi")]


async def test_langgraph_alone_waits_for_a_save_that_an_inner_graph_does_not_make(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If this begins to fail, delete `allow_graphs_that_save_nothing`."""
    inner = StateGraph(MessagesState).add_node("node", lambda state: {}).add_edge(START, "node")
    outer = (
        StateGraph(MessagesState)
        .add_node("inner", inner.compile(checkpointer=False))
        .add_edge(START, "inner")
    )
    graph = outer.compile(checkpointer=InMemorySaver())
    config: RunnableConfig = {"configurable": {"thread_id": "thread"}}
    await graph.ainvoke({"messages": []}, config, durability="sync")
    monkeypatch.delattr(AsyncPregelLoop, "_put_checkpoint_fut")
    with pytest.raises(AttributeError, match="_put_checkpoint_fut"):
        await graph.ainvoke({"messages": []}, config, durability="sync")
