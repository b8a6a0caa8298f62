"""The way of a run's events into the log: merging, holding, fencing, and ending."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.data import reads
from antiphon.data.database import Database
from antiphon.data.errors import Fenced
from antiphon.data.records import CheckpointWrite, Message, RunRecord
from antiphon.orchestrator.engine.log import body_of
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    AnyEvent,
    Custom,
    Interrupt,
    MessageSaved,
    Progress,
    RunComplete,
    encode,
)
from antiphon.orchestrator.recording.writer import HIGH_WATER, RunWriter
from tests.orchestrator.support import UNHURRIED, accepted, logged, path_of, writing


@pytest.fixture
async def run(database: Database) -> RunRecord:
    return await accepted(database)


@pytest.fixture
def lock(url: str, database: Database) -> Iterator[sqlite3.Connection]:
    """Somebody else's transaction: nobody can commit until it is over."""
    with closing(sqlite3.connect(path_of(url), isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield connection


def chunk(text: str, span: str = "1.1", channel: str = "answer") -> AgentChunk:
    return AgentChunk(span=span, agent="a", text=text, channel=channel)  # type: ignore[arg-type]


def complete(agent: str) -> AgentComplete:
    return AgentComplete(span=agent, agent=agent, text="")


def result_of(task: str) -> CheckpointWrite:
    return CheckpointWrite(
        task_id=task,
        task_path="",
        position=0,
        channel="messages",
        kind="null",
        value=b"",
        replace=False,
    )


async def turns(count: int = 3) -> None:
    """Let everybody go on until they wait for something."""
    for _ in range(count):
        await asyncio.sleep(0)


# -- into the log -----------------------------------------------------------------------------------------------


async def test_what_is_emitted_is_stored_without_being_asked_for(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        with database.watch(run.thread_id) as watch:
            writer.emit(chunk("first"))
            await watch.wait()
        assert await logged(database, run) == [chunk("first")]
        await writer.flush()
        assert writer.last_seq == run.first_seq + 1


async def test_pieces_that_come_during_a_commit_become_one_row_per_span(
    database: Database, run: RunRecord, lock: sqlite3.Connection
) -> None:
    async with writing(database, run) as writer:
        writer.emit(chunk("first"))
        await turns()
        for letter in "abc":
            writer.emit(chunk(letter))
            writer.emit(chunk(letter.upper(), span="1.2"))
        lock.execute("ROLLBACK")
        await writer.flush()
        assert await logged(database, run) == [
            chunk("first"),
            chunk("abc"),
            chunk("ABC", span="1.2"),
        ]


@pytest.mark.parametrize(
    "between",
    [
        Custom(name="note"),
        AgentStart(span="1.2", agent="b"),
        chunk("thought", channel="reasoning"),
    ],
)
async def test_pieces_do_not_merge_over_anything_that_belongs_between(
    database: Database, run: RunRecord, between: AnyEvent
) -> None:
    events = [chunk("a"), between, chunk("b")]
    async with writing(database, run) as writer:
        for event in events:
            writer.emit(event)
        await writer.flush()
    assert await logged(database, run) == events


pieces = st.builds(
    chunk,
    st.text(max_size=3),
    st.sampled_from(["1.1", "1.2"]),
    st.sampled_from(["answer", "draft", "reasoning"]),
)
notes = st.builds(Custom, name=st.just("note"), value=st.integers(0, 9))


def said_before_notes(events: list[AnyEvent]) -> list[dict[tuple[str, str], str]]:
    """What each span had said on each channel at each note, and at the end."""
    said: dict[tuple[str, str], str] = {}
    pictures = []
    for event in [*events, Custom(name="end")]:
        if isinstance(event, AgentChunk):
            said[event.span, event.channel] = said.get((event.span, event.channel), "") + event.text
        else:
            pictures.append(dict(said))
    return pictures


@settings(UNHURRIED, max_examples=40)
@given(events=st.lists(pieces | notes, max_size=30), flushes=st.sets(st.integers(0, 29)))
async def test_merging_changes_neither_texts_nor_their_place_among_other_events(
    database: Database, events: list[AnyEvent], flushes: set[int]
) -> None:
    run = await accepted(database)
    async with writing(database, run) as writer:
        for number, event in enumerate(events):
            writer.emit(event)
            if number in flushes:
                await writer.flush()
        await writer.flush()
    stored = await logged(database, run)
    assert said_before_notes(stored) == said_before_notes(events)
    assert [e for e in stored if isinstance(e, Custom)] == [
        e for e in events if isinstance(e, Custom)
    ]


async def test_progress_never_goes_back_and_never_beyond_one(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        for value in (0.2, -1.0, 0.1, 0.7, float("nan"), 4.0, 0.5):
            writer.emit(Progress(value=value, stage="generating", message="on"))
        await writer.flush()
    assert [event.value for event in await logged(database, run)] == [
        0.2,
        0.2,
        0.2,
        0.7,
        0.7,
        1.0,
        1.0,
    ]  # type: ignore[union-attr]


async def test_an_event_that_cannot_be_stored_is_refused_at_once(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        with pytest.raises(TypeError):
            writer.emit(Custom(name="odd", value=object()))
        await writer.flush()
    assert await logged(database, run) == []


async def test_draining_waits_only_while_too_much_is_uncommitted(
    database: Database, run: RunRecord, lock: sqlite3.Connection
) -> None:
    async with writing(database, run) as writer:
        writer.emit(chunk("little"))
        await turns()
        await writer.drain()
        assert await logged(database, run) == []
        writer.emit(chunk("x" * (HIGH_WATER + 1)))
        draining = asyncio.create_task(writer.drain())
        await turns()
        assert not draining.done()
        lock.execute("ROLLBACK")
        await draining
        assert (await logged(database, run))[-1].text.endswith("x")  # type: ignore[union-attr]


async def test_what_was_not_committed_when_the_writer_closes_is_lost(
    database: Database, run: RunRecord, lock: sqlite3.Connection
) -> None:
    async with writing(database, run) as writer:
        writer.emit(chunk("never"))
    lock.execute("ROLLBACK")
    assert await logged(database, run) == []


# -- held back for a task's result ------------------------------------------------------------------------------


async def test_a_held_event_is_stored_together_with_its_tasks_result(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        writer.hold("left:1", complete("left"))
        writer.hold("right:2", complete("right"))
        writer.emit(chunk("meanwhile"))
        await writer.flush()
        assert await logged(database, run) == [chunk("meanwhile")]
        await writer.put_writes("", "c1", [result_of("2")])
        assert await logged(database, run) == [chunk("meanwhile"), complete("right")]
        await writer.put_writes("", "c1", [result_of("1")])
        assert await logged(database, run) == [
            chunk("meanwhile"),
            complete("right"),
            complete("left"),
        ]


async def test_what_is_held_inside_a_task_goes_before_the_task_itself(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        writer.hold("outer:1|inner:2", complete("inner"))
        writer.hold("outer:1", complete("outer"))
        await writer.put_writes("", "c1", [result_of("1")])
    assert await logged(database, run) == [complete("inner"), complete("outer")]


async def test_what_is_still_held_goes_when_the_run_pauses(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        writer.hold("left:1", complete("left"))
        await writer.pause(None, Interrupt(id="i", question="sure?"))
    assert await logged(database, run) == [complete("left"), Interrupt(id="i", question="sure?")]


async def test_what_is_held_is_released_in_order(database: Database, run: RunRecord) -> None:
    async with writing(database, run) as writer:
        writer.hold("left:1", complete("left"))
        writer.emit(chunk("last words"))
        writer.release()
        await writer.flush()
    assert await logged(database, run) == [chunk("last words"), complete("left")]


# -- the fence --------------------------------------------------------------------------------------------------


async def test_a_writer_that_lost_its_run_stores_nothing_and_says_so(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        lost = asyncio.Event()
        writer.on_error = lost.set
        await database.claim(run.id, "another", held_by="worker")
        writer.emit(chunk("too late"))
        await lost.wait()
        assert isinstance(writer.error, Fenced)
        for late in (writer.flush, lambda: writer.pause(None)):
            writer.emit(chunk("later still"))
            with pytest.raises(Fenced):
                await late()
        with pytest.raises(Fenced):
            await writer.put_writes("", "c1", [result_of("1")])
    assert await logged(database, run) == []


async def test_what_a_locked_database_delays_is_not_lost(
    database: Database, run: RunRecord, lock: sqlite3.Connection
) -> None:
    async with writing(database, run) as writer:
        writer.emit(chunk("late"))
        await turns()
        lock.execute("ROLLBACK")
        await writer.flush()
    assert await logged(database, run) == [chunk("late")]


# -- the end ----------------------------------------------------------------------------------------------------


def reply_to(run: RunRecord) -> Message:
    return Message(
        id=run.reply_message_id,
        thread_id=run.thread_id,
        run_id=run.id,
        role="assistant",
        content="hi",
        parent_id=run.input_message_id,
        author="a",
        partial=False,
        created_at=2,
    )


async def finish(writer: RunWriter, run: RunRecord) -> None:
    terminal = RunComplete(message_id=run.reply_message_id, text="hi")
    writer.emit(MessageSaved(message=body_of(reply_to(run))))
    await writer.finish("completed", reply_to(run), encode(terminal), terminal)


async def test_the_end_is_stored_with_the_reply_and_the_status(
    database: Database, run: RunRecord
) -> None:
    async with writing(database, run) as writer:
        await finish(writer, run)
        stored = await database.fetch(reads.run, run.id)
    assert stored is not None
    assert (stored.status, stored.result) == (
        "completed",
        encode((await logged(database, run))[-1]),
    )
    assert [
        message.content for message in await database.fetch(reads.messages_of, run.thread_id)
    ] == ["hello", "hi"]


async def test_the_end_is_stored_at_once_even_while_a_flush_waits(
    database: Database, run: RunRecord, lock: sqlite3.Connection
) -> None:
    async with writing(database, run) as writer:
        writer.emit(chunk("being committed"))
        await turns()
        flushing = asyncio.create_task(writer.flush())
        await turns()
        finishing = asyncio.create_task(finish(writer, run))
        await turns()
        lock.execute("ROLLBACK")
        await asyncio.gather(flushing, finishing)
        stored = await database.fetch(reads.run, run.id)
    assert stored is not None
    assert stored.status == "completed"


async def logged_types(database: Database, run: RunRecord) -> list[str]:
    return [event.type for event in await logged(database, run)]


async def test_nothing_is_stored_behind_the_end(database: Database, run: RunRecord) -> None:
    async with writing(database, run) as writer:
        await finish(writer, run)
        writer.emit(chunk("stray"))
        with pytest.raises(Fenced):
            await writer.flush()
    assert (await logged_types(database, run))[-1] == "run_complete"


async def test_the_end_names_the_run_that_waits_next(database: Database, run: RunRecord) -> None:
    waiting = [await accepted(database, thread_id=run.thread_id) for _ in range(2)]
    async with writing(database, run) as writer:
        terminal = RunComplete(message_id=run.reply_message_id, text="")
        assert await writer.finish("completed", None, encode(terminal), terminal) == waiting[0].id
