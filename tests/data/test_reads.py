"""Everything that is read, on every backend."""

from __future__ import annotations

import pytest

from antiphon.data import reads, schema, transactions
from antiphon.data.database import Database
from antiphon.data.errors import Fenced
from antiphon.data.records import (
    DAY_MS,
    Checkpoint,
    CheckpointWrite,
    Fence,
    GraphState,
    Message,
    Row,
    RunRecord,
    StoredCheckpoint,
    Thread,
)
from tests.data.support import acceptance, checkpoint, note, notes, reply, running, task_write


async def finish(database: Database, run: RunRecord, message: Message | None = None) -> None:
    fence = Fence(run_id=run.id, epoch=run.lease_epoch)
    await database.write(
        transactions.finish,
        fence,
        run.emitted,
        notes(1, "end"),
        status="completed",
        message=message,
        result=b"",
    )


@pytest.mark.parametrize("record", [Row, Thread, Message, RunRecord, Checkpoint])
def test_a_table_has_the_fields_of_its_record(record):
    tables = {
        Row: "events",
        Thread: "threads",
        Message: "messages",
        RunRecord: "runs",
        Checkpoint: "checkpoints",
    }
    columns = set(schema.metadata.tables[tables[record]].columns.keys())
    not_shown = {Checkpoint: {"run_id"}, Message: {"position"}}.get(record, set())
    assert set(record.__struct_fields__) == columns - not_shown


async def test_threads_of_a_user_come_newest_first(database):
    runs = [(await running(database, at=at))[0] for at in (10, 30, 20)]
    await running(database, user_id="bob")
    threads = [thread.id for thread in await database.fetch(reads.threads_of, "ada", 10)]
    assert threads == [runs[1].thread_id, runs[2].thread_id, runs[0].thread_id]
    await running(database, thread_id=runs[0].thread_id, at=40)
    assert [thread.id for thread in await database.fetch(reads.threads_of, "ada", 1)] == [
        runs[0].thread_id
    ]


async def test_a_named_thread_is_found_by_its_user_only(database):
    run, _ = await running(database, thread_name=("chat", "x"))
    assert await database.fetch(reads.named_thread, "ada", "chat", "x") == await database.fetch(
        reads.thread, run.thread_id
    )
    assert await database.fetch(reads.named_thread, "bob", "chat", "x") is None
    assert await database.fetch(reads.named_thread, "ada", "other", "x") is None


async def test_a_connections_place_is_the_last_one_that_was_stored(database):
    key, other = ("ada", "chat", "c"), ("bob", "chat", "c")
    assert await database.fetch(reads.position, key) is None
    for place in (("run", 0), ("run", 3.02), ("next", 7)):
        await database.write(transactions.remember, key, *place)
        assert await database.fetch(reads.position, key) == place
    assert await database.fetch(reads.position, other) is None


@pytest.mark.parametrize("later", [20, 10, 0])
async def test_messages_come_in_the_order_of_the_conversation_whatever_the_clock_says(
    database, later
):
    """Replies have their place from the beginning; until something was said, it is not shown."""
    first, _ = await running(database, at=10, message_id="z", reply_message_id="a")
    second = (
        await database.write(transactions.accept, acceptance(thread_id=first.thread_id, at=later))
    ).run
    asked = [first.input_message_id, second.input_message_id]
    assert [
        message.id for message in await database.fetch(reads.messages_of, first.thread_id)
    ] == asked
    await finish(database, first, reply(first, created_at=later))
    after = await database.claim(second.id, database.worker_id)
    await finish(database, after, reply(after, created_at=later))
    roles = [message.role for message in await database.fetch(reads.messages_of, first.thread_id)]
    assert roles == ["user", "assistant", "user", "assistant"]


async def test_a_branch_is_a_message_and_what_it_follows(database):
    first, _ = await running(database)
    await finish(database, first, reply(first))
    abandoned, _ = await running(database, thread_id=first.thread_id)
    chosen = (
        await database.write(
            transactions.accept, acceptance(thread_id=first.thread_id, on_busy="rollback")
        )
    ).run

    async def branch(message_id: str) -> list[str]:
        return [message.id for message in await database.fetch(reads.branch, message_id)]

    start = [first.input_message_id, first.reply_message_id]
    assert await branch(first.reply_message_id) == start
    assert await branch(abandoned.reply_message_id) == [*start, abandoned.input_message_id]
    assert await branch(chosen.input_message_id) == [*start, chosen.input_message_id]
    assert await branch("nowhere") == []


async def test_a_branch_may_begin_behind_a_message(database):
    first, _ = await running(database)
    await finish(database, first, reply(first))
    second, _ = await running(database, thread_id=first.thread_id)
    after = await database.fetch(reads.branch, second.input_message_id, first.reply_message_id)
    assert [message.id for message in after] == [second.input_message_id]


async def leave(
    database: Database, run: RunRecord, value: bytes, follows: str | None = None
) -> None:
    """End a run with a state for the next one."""
    state = GraphState(
        graph=run.graph, message_id=run.reply_message_id, value=value, follows=follows
    )
    fence, ending = Fence(run_id=run.id, epoch=run.lease_epoch), notes(1, "end")
    await database.write(
        transactions.finish,
        fence,
        run.emitted,
        ending,
        status="completed",
        message=reply(run),
        result=b"",
        graph_state=state,
    )


async def test_a_graph_begins_from_the_nearest_state_on_its_branch(database):
    """Of each graph's states, the newest and the one that it follows are kept."""
    runs: list[RunRecord] = []
    for number in range(3):
        thread = {"thread_id": runs[0].thread_id} if runs else {}
        run, _ = await running(database, **thread)
        found = await database.fetch(reads.graph_state, "team", run.input_message_id)
        last = runs[-1].reply_message_id if runs else None
        value = b"%d" % (number - 1)
        assert found == (GraphState(graph="team", message_id=last, value=value) if last else None)
        await leave(database, run, b"%d" % number, last)
        runs.append(run)
    states = [await database.fetch(reads.graph_state, "team", run.reply_message_id) for run in runs]
    assert [state and state.value for state in states] == [None, b"1", b"2"]
    assert await database.fetch(reads.graph_state, "other", runs[2].reply_message_id) is None
    # a message that takes the last turn back stands where that one stood
    assert (await database.fetch(reads.graph_state, "team", runs[2].input_message_id)).value == b"1"
    other, _ = await running(database, thread_id=runs[0].thread_id, graph="other")
    await leave(database, other, b"other")
    again, _ = await running(database, thread_id=runs[0].thread_id)
    assert (await database.fetch(reads.graph_state, "team", again.input_message_id)).value == b"2"
    assert (
        await database.fetch(reads.graph_state, "other", again.input_message_id)
    ).value == b"other"


async def test_a_state_is_stored_with_the_end_of_its_run_or_not_at_all(database):
    run, _ = await running(database)
    await database.claim(run.id, "another", held_by=database.worker_id)
    with pytest.raises(Fenced):
        await leave(database, run, b"lost")
    assert await database.fetch(reads.graph_state, "team", run.reply_message_id) is None


async def test_writes_and_namespaces_of_a_run_are_its_own(database):
    run, fence = await running(database)
    other, other_fence = await running(database)
    await database.write(
        transactions.append, fence, run.emitted, [], [("", "earlier", task_write())]
    )
    for owner, namespace in ((fence, "kept"), (fence, ""), (other_fence, "elsewhere")):
        await database.write(
            transactions.put_checkpoint, owner, 1, [], checkpoint(namespace=namespace)
        )
    assert await database.fetch(reads.checkpoint_writes, run.id, "", "earlier") == (task_write(),)
    assert await database.fetch(reads.checkpoint_writes, other.id, "", "earlier") == ()
    assert sorted(await database.fetch(reads.checkpoint_namespaces, run.id)) == ["", "kept"]


async def test_spending_and_active_runs_are_counted_per_user(database):
    run, fence = await running(database)
    await database.write(transactions.accept, acceptance(thread_id=run.thread_id))
    assert [await database.fetch(reads.active_runs, user) for user in ("ada", "bob")] == [2, 0]
    end = [note(kind="end", at=DAY_MS)]
    await database.write(
        transactions.finish, fence, 1, end, status="completed", message=None, result=b"", tokens=7
    )
    assert [await database.fetch(reads.active_runs, user) for user in ("ada", "bob")] == [1, 0]
    days = [await database.fetch(reads.tokens_used, "ada", day * DAY_MS) for day in (0, 1, 2)]
    assert days == [0, 7, 0]
    assert await database.fetch(reads.tokens_used, "bob", DAY_MS) == 0


async def test_what_is_not_there_is_nothing(database):
    assert await database.read("nowhere", 0, 10) == []
    assert await database.fetch(reads.messages_of, "nowhere") == []
    assert await database.fetch(reads.run, "nowhere") is None
    assert await database.fetch(reads.thread, "nowhere") is None


async def test_checkpoints_come_newest_first_and_by_id_namespace_and_limit(database):
    run, fence = await running(database)
    for number in (1, 2, 3):
        await database.write(transactions.put_checkpoint, fence, 1, [], checkpoint(f"c{number}"))
    await database.write(transactions.put_checkpoint, fence, 1, [], checkpoint("c9", "inner"))

    async def ids(namespace=None, before=None, limit=None) -> list[str]:
        return [
            one.checkpoint.id
            for one in await database.fetch(reads.checkpoints_of, run.id, namespace, before, limit)
        ]

    assert await ids() == ["c9", "c3", "c2", "c1"]
    assert await ids("") == ["c3", "c2", "c1"]
    assert await ids("", before="c3") == ["c2", "c1"]
    assert await ids("", limit=1) == ["c3"]
    assert await database.fetch(reads.checkpoint, run.id, "", None) == StoredCheckpoint(
        checkpoint=checkpoint("c3"), writes=()
    )
    assert await database.fetch(reads.checkpoint, run.id, "", "c2") == StoredCheckpoint(
        checkpoint=checkpoint("c2"), writes=()
    )
    assert await database.fetch(reads.checkpoint, run.id, "", "c9") is None
    assert await database.fetch(reads.checkpoint, "nowhere", "", None) is None


async def test_a_checkpoint_comes_with_the_writes_of_its_own_tasks_in_order(database):
    run, fence = await running(database)
    await database.write(transactions.put_checkpoint, fence, 1, notes(1), checkpoint())
    tasks = [
        ("t2", "~1"),
        ("t1", "~2"),
        ("t3", "~2"),
    ]  # in the order of their paths, then of their ids
    writes = [
        task_write(position, b"%d" % position, *task) for task in tasks for position in (-1, 0, 1)
    ]
    rows = [("", "c1", write) for write in reversed(writes)] + [
        ("", "other", task_write()),
        ("in", "c1", task_write()),
    ]
    assert await database.write(transactions.append, fence, 2, notes(1), rows) == 3
    found = await database.fetch(reads.checkpoint, run.id, "", "c1")
    assert found == StoredCheckpoint(checkpoint=checkpoint(), writes=tuple(writes))
    assert all(isinstance(write, CheckpointWrite) for write in found.writes)


async def test_a_checkpoint_is_announced_with_its_events(database):
    run, fence = await running(database)
    assert await database.write(transactions.put_checkpoint, fence, 1, notes(2), checkpoint()) == 3
    assert await database.write(transactions.put_checkpoint, fence, 3, [], checkpoint("c2")) == 0
    assert (
        await database.write(transactions.put_checkpoint, fence, 1, notes(2), checkpoint()) == 0
    )  # its answer was lost
    assert [row.seq for row in await database.read(run.thread_id, 0, 10)] == [1, 2, 3]
