"""LangGraph's own conformance kit on our checkpointer, and the fence that the kit does not know."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, Checkpoint, CheckpointTuple
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.checkpoint.conformance.test_utils import generate_checkpoint, generate_config, generate_metadata

from data import open_database
from data.base import Database, Fenced
from orchestrator.checkpoints import RunCheckpoints
from orchestrator.events import AgentComplete
from orchestrator.view import RunView
from orchestrator.writer import RunWriter
from tests.orchestrator.support import accepted, logged, writing

APPLICABLE = {"put", "put_writes", "get_tuple", "list"}
"""Deleting, copying and pruning threads do not apply: a run's checkpoints end with the run, in the same transaction."""


class EachThreadARun(BaseCheckpointSaver[str]):
    """The kit writes to many threads; ours belongs to one run. So each of the kit's threads becomes a run here."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database
        self._runs: dict[str, RunCheckpoints] = {}
        self.writers: list[RunWriter] = []

    async def _of(self, config: RunnableConfig) -> RunCheckpoints:
        run_id = config["configurable"]["thread_id"]
        if run_id not in self._runs:
            run = await accepted(self._database, run_id=run_id)
            self.writers.append(RunWriter(self._database, run, lambda: 2, RunView()))
            self._runs[run_id] = RunCheckpoints(self._database, self.writers[-1], run_id)
        return self._runs[run_id]

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        return await (await self._of(config)).aget_tuple(config)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        assert config is not None
        async for found in (await self._of(config)).alist(config, **options):
            yield found

    async def aput(self, config: RunnableConfig, *given: Any) -> RunnableConfig:
        return await (await self._of(config)).aput(config, *given)

    async def aput_writes(self, config: RunnableConfig, *given: Any, **options: Any) -> None:
        await (await self._of(config)).aput_writes(config, *given, **options)


@pytest.mark.parametrize("capability", sorted(APPLICABLE))
async def test_the_conformance_kit_passes(tmp_path: Path, capability: str) -> None:
    @checkpointer_test(name="RunCheckpoints")
    async def checkpointer() -> AsyncGenerator[BaseCheckpointSaver[str], None]:
        database = await open_database(f"sqlite:///{tmp_path / 'kit.db'}")
        saver = EachThreadARun(database)
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
    return await saver.aput(generate_config(run_id), checkpoint, generate_metadata(), {}), checkpoint


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
        found = [one async for one in RunCheckpoints(database, writer, run.id).alist(generate_config(run.id))]
    assert [(one.checkpoint["id"], one.pending_writes) for one in found] == [(checkpoint["id"], [])]


async def test_a_tasks_writes_and_the_events_that_waited_for_it_are_stored_together(database: Database) -> None:
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
