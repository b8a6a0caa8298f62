"""The SQLite backend on real files: durable, isolated readers, several instances on one file."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy.exc import OperationalError

from antiphon.data import open_database, schema, transactions
from antiphon.data.database import Database
from antiphon.data.errors import Busy, Fenced, IdempotencyConflict, NotFound, StorageError
from antiphon.data.records import (
    DAY_MS,
    Checkpoint,
    CheckpointWrite,
    Fence,
    GraphState,
    Message,
    Row,
    Run,
    StoredCheckpoint,
    Thread,
)
from tests.data.support import ROOT, acceptance, checkpoint, note, notes, peer, reply, stored, task_write

PATIENCE = 20


async def running(database: Database, **given) -> tuple[Run, Fence]:
    run = (await database.write(transactions.accept, acceptance(worker=database.worker_id, **given))).run
    return run, Fence(run_id=run.id, epoch=run.lease_epoch)


async def finish(database: Database, run: Run, message: Message | None = None) -> None:
    fence = Fence(run_id=run.id, epoch=run.lease_epoch)
    await database.write(
        transactions.finish, fence, run.emitted, notes(1, "end"), status="completed", message=message, result=b""
    )


# -- opening and closing ----------------------------------------------------------------------------------------


async def test_a_database_is_opened_by_its_url(path):
    database = await open_database(f"sqlite:///{path}")
    assert isinstance(database, Database)
    await database.close()


async def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'oracle'.*sqlite"):
        await open_database("oracle://somewhere")


async def test_folders_are_made(tmp_path):
    database = await open_database(f"sqlite:///{tmp_path}/deep/er/log.db")
    await running(database)
    await database.close()


async def test_a_file_that_is_no_database_is_refused(path):
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(StorageError, match="cannot open"):
        await open_database(f"sqlite:///{path}")


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(StorageError, match="newer version"):
        await open_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


@pytest.mark.parametrize("folder", ["with space", "ümläut", "hash#tag", "50%"])
async def test_any_path_works(tmp_path, folder):
    await _works_at(tmp_path / folder / "log.db")


@pytest.mark.parametrize("folder", ["what?", "a%41b"])
async def test_a_path_with_characters_of_urls_works(tmp_path, folder):
    await _works_at(tmp_path / folder / "log.db")


async def _works_at(path) -> None:
    database = await open_database(f"sqlite:///{path}")
    try:
        run, _ = await running(database)
        assert path.exists()
        assert await database.run(run.id) == run
    finally:
        await database.close()


async def test_everything_is_there_after_reopening(path):
    database = await open_database(f"sqlite:///{path}")
    run, fence = await running(database, thread_name=("chat", "x"))
    await database.write(transactions.append, fence, 1, notes(3))
    await database.write(transactions.put_checkpoint, fence, 4, [], checkpoint())

    async def kept(opened):
        return (
            await opened.read(run.thread_id, 0, 100),
            await opened.run(run.id),
            await opened.messages(run.thread_id),
            await opened.named_thread("ada", "chat", "x"),
            await opened.checkpoint(run.id, "", None),
        )

    before = await kept(database)
    await database.close()
    reopened = await open_database(f"sqlite:///{path}")
    assert await kept(reopened) == before
    await reopened.close()


async def test_nothing_is_taken_after_close(path):
    database = await open_database(f"sqlite:///{path}")
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.write(transactions.accept, acceptance())


async def test_close_is_idempotent(path):
    database = await open_database(f"sqlite:///{path}")
    await database.close()
    await database.close()


# -- durability -------------------------------------------------------------------------------------------------


async def test_the_writer_syncs_every_commit_to_a_write_ahead_log(database):
    async def pragma(name: str):
        return await database._writer.submit(lambda tx: tx.one(f"PRAGMA {name}")[0])

    assert await pragma("journal_mode") == "wal"
    assert await pragma("synchronous") == 2  # FULL
    facts = await database.facts()
    assert (facts["journal_mode"], facts["synchronous"]) == ("wal", "full")


async def test_readers_cannot_write(database):
    async with database._backend.reader.connect() as connection:
        with pytest.raises(OperationalError, match="readonly"):
            await connection.execute(schema.workers.delete())


CHILD = """
import asyncio, os, sys
from antiphon.data import open_database, transactions
from tests.data.support import acceptance

async def main():
    database = await open_database(sys.argv[1])
    await database.write(transactions.accept, acceptance(worker=database.worker_id))
    os.write(1, b"ACK")
    await database.close()

asyncio.run(main())
"""


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_an_accepted_message_is_on_the_disk_before_it_is_acknowledged(path, tmp_path):
    trace = tmp_path / "trace"
    calls = "trace=write,pwrite64,writev,pwritev,fsync,fdatasync"
    command = ["strace", "-f", "-y", "-e", calls, "-o", str(trace), sys.executable, "-c", CHILD, f"sqlite:///{path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace is not allowed here")
    assert done.stdout == b"ACK", done.stderr
    lines = trace.read_text().splitlines()
    acknowledged = next(number for number, line in enumerate(lines) if '"ACK"' in line)
    on_wal = [
        (number, call)
        for number, line in enumerate(lines[:acknowledged])
        if (call := _finished_call(lines, number, f"{path}-wal"))
    ]
    last_write = max(number for number, call in on_wal if "write" in call)
    synced = [number for number, call in on_wal if call in ("fsync", "fdatasync")]
    assert any(last_write < number < acknowledged for number in synced)


def _finished_call(lines: list[str], number: int, file: str) -> str | None:
    """The system call on a file that ended successfully in this line of a trace, possibly begun in an earlier one."""
    line = lines[number]
    if resumed := re.match(r"(\d+)\s+<\.\.\. (\w+) resumed>", line):
        begun = next(
            earlier
            for earlier in reversed(lines[:number])
            if earlier.startswith(resumed[1]) and "unfinished" in earlier
        )
        return resumed[2] if f"<{file}>" in begun and " = -1" not in line else None
    call = re.match(r"\d+\s+(\w+)\(", line)
    done = "unfinished" not in line and " = -1" not in line
    return call[1] if call and done and f"<{file}>" in line else None


# -- several instances on one file ------------------------------------------------------------------------------


async def test_a_commit_of_another_process_wakes_a_watcher_who_then_reads_it(database, path):
    run, fence = await running(database)
    with peer(path) as other, database.watch(run.thread_id) as watch:
        watch.clear()
        assert [row.seq for row in await database.read(run.thread_id, 0, 10)] == [1]
        other.accept(run.thread_id)
        await asyncio.wait_for(watch.wait(), PATIENCE)
        assert [row.seq for row in await database.read(run.thread_id, 0, 10)] == [1, 2]
        assert await database.write(transactions.append, fence, 1, notes(1)) == 3
        assert [row.seq for row in await database.read(run.thread_id, 0, 10)] == [1, 2, 3]


async def test_a_commit_of_another_instance_wakes_a_watcher(database, second):
    run, fence = await running(database)
    for expected in range(1, 4):
        with second.watch(run.thread_id) as watch:
            watch.clear()
            await database.write(transactions.append, fence, expected, notes(1))
            await asyncio.wait_for(watch.wait(), PATIENCE)
            assert len(await second.read(run.thread_id, 0, 10)) == expected + 1


async def test_two_instances_number_one_thread_without_gaps(database, second):
    run, fence = await running(database)
    queued = [
        (await one.write(transactions.accept, acceptance(thread_id=run.thread_id))).run
        for _ in range(20)
        for one in (database, second)
    ]

    async def write() -> None:
        for expected in range(1, 21):
            await database.write(transactions.append, fence, expected, notes(1))

    ends = [second.write(transactions.cancel, one.id, "ada", notes(1, "end"), b"") for one in queued]
    await asyncio.gather(write(), *ends)
    for one in (database, second):
        with one.watch(run.thread_id) as watch:
            while len(rows := await one.read(run.thread_id, 0, 1000)) < 101:
                watch.clear()
                await asyncio.wait_for(watch.wait(), PATIENCE)
        assert [row.seq for row in rows] == list(range(1, 102))


async def test_one_key_on_two_instances_is_one_run(database, second):
    same = {"idempotency": ("key", b"digest")}
    accepted = await asyncio.gather(
        *(one.write(transactions.accept, acceptance(**same)) for one in (database, second) for _ in range(5))
    )
    assert len({one.run.id for one in accepted}) == 1
    assert sum(one.created for one in accepted) == 1


async def test_many_can_open_a_new_file_at_once(path):
    opened = await asyncio.gather(*(asyncio.to_thread(_open_and_close, path) for _ in range(4)))
    assert opened == [None] * 4


def _open_and_close(path) -> None:
    async def body() -> None:
        await (await open_database(f"sqlite:///{path}")).close()

    asyncio.run(body())


# -- reading ----------------------------------------------------------------------------------------------------


async def test_a_watcher_that_subscribes_and_then_reads_misses_nothing(database):
    run, fence = await running(database)
    seen: list[Row] = []

    async def follow() -> None:
        with database.watch(run.thread_id) as watch:
            while len(seen) < 200:
                watch.clear()
                while rows := await database.read(run.thread_id, len(seen), 7):
                    seen.extend(rows)
                if len(seen) < 200:
                    await watch.wait()

    following = asyncio.create_task(follow())
    for expected in range(1, 200):
        await database.write(transactions.append, fence, expected, notes(1))
    await asyncio.wait_for(following, PATIENCE)
    assert [row.seq for row in seen] == list(range(1, 201))


async def test_wake_wakes_every_watcher(database):
    with database.watch("a") as one, database.watch("b") as other:
        database.wake()
        await asyncio.wait_for(asyncio.gather(one.wait(), other.wait()), PATIENCE)


async def test_memory_and_file_give_the_same_rows(database, outside):
    run, fence = await running(database)
    await database.write(transactions.append, fence, 1, [note(bytes([number]), at=number) for number in range(50)])
    recent = await database.read(run.thread_id, 0, 1000)
    database._tail.clear()
    assert await database.read(run.thread_id, 0, 1000) == recent == stored(outside, Row)
    assert await database.read(run.thread_id, 10, 5) == recent[10:15]


@pytest.mark.parametrize("record", [Row, Thread, Message, Run, Checkpoint])
def test_a_table_has_the_fields_of_its_record(record):
    tables = {Row: "events", Thread: "threads", Message: "messages", Run: "runs", Checkpoint: "checkpoints"}
    columns = set(schema.metadata.tables[tables[record]].columns.keys())
    not_shown = {Checkpoint: {"run_id"}, Message: {"position"}}.get(record, set())
    assert set(record.__struct_fields__) == columns - not_shown


async def test_threads_of_a_user_come_newest_first(database):
    runs = [(await running(database, at=at))[0] for at in (10, 30, 20)]
    await running(database, user_id="bob")
    threads = [thread.id for thread in await database.threads("ada", 10)]
    assert threads == [runs[1].thread_id, runs[2].thread_id, runs[0].thread_id]
    await running(database, thread_id=runs[0].thread_id, at=40)
    assert [thread.id for thread in await database.threads("ada", 1)] == [runs[0].thread_id]


async def test_a_named_thread_is_found_by_its_user_only(database):
    run, _ = await running(database, thread_name=("chat", "x"))
    assert await database.named_thread("ada", "chat", "x") == await database.thread(run.thread_id)
    assert await database.named_thread("bob", "chat", "x") is None
    assert await database.named_thread("ada", "other", "x") is None


async def test_a_connections_place_is_the_last_one_that_was_stored(database):
    key, other = ("ada", "chat", "c"), ("bob", "chat", "c")
    assert await database.position(key) is None
    for place in (("run", 0), ("run", 3.02), ("next", 7)):
        await database.write(transactions.remember, key, *place)
        assert await database.position(key) == place
    assert await database.position(other) is None


@pytest.mark.parametrize("later", [20, 10, 0])
async def test_messages_come_in_the_order_of_the_conversation_whatever_the_clock_says(database, later):
    """Replies have their place from the beginning; until something was said, it is not shown."""
    first, _ = await running(database, at=10, message_id="z", reply_message_id="a")
    second = (await database.write(transactions.accept, acceptance(thread_id=first.thread_id, at=later))).run
    asked = [first.input_message_id, second.input_message_id]
    assert [message.id for message in await database.messages(first.thread_id)] == asked
    await finish(database, first, reply(first, created_at=later))
    after = await database.claim(second.id, database.worker_id)
    await finish(database, after, reply(after, created_at=later))
    roles = [message.role for message in await database.messages(first.thread_id)]
    assert roles == ["user", "assistant", "user", "assistant"]


async def test_a_branch_is_a_message_and_what_it_follows(database):
    first, _ = await running(database)
    await finish(database, first, reply(first))
    abandoned, _ = await running(database, thread_id=first.thread_id)
    chosen = (await database.write(transactions.accept, acceptance(thread_id=first.thread_id, on_busy="rollback"))).run

    async def branch(message_id: str) -> list[str]:
        return [message.id for message in await database.branch(message_id)]

    start = [first.input_message_id, first.reply_message_id]
    assert await branch(first.reply_message_id) == start
    assert await branch(abandoned.reply_message_id) == [*start, abandoned.input_message_id]
    assert await branch(chosen.input_message_id) == [*start, chosen.input_message_id]
    assert await branch("nowhere") == []


async def test_a_branch_may_begin_behind_a_message(database):
    first, _ = await running(database)
    await finish(database, first, reply(first))
    second, _ = await running(database, thread_id=first.thread_id)
    after = await database.branch(second.input_message_id, first.reply_message_id)
    assert [message.id for message in after] == [second.input_message_id]


async def leave(database: Database, run: Run, value: bytes, follows: str | None = None) -> None:
    """End a run with a state for the next one."""
    state = GraphState(graph=run.graph, message_id=run.reply_message_id, value=value, follows=follows)
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
    runs: list[Run] = []
    for number in range(3):
        thread = {"thread_id": runs[0].thread_id} if runs else {}
        run, _ = await running(database, **thread)
        found = await database.graph_state("team", run.input_message_id)
        last = runs[-1].reply_message_id if runs else None
        value = b"%d" % (number - 1)
        assert found == (GraphState(graph="team", message_id=last, value=value) if last else None)
        await leave(database, run, b"%d" % number, last)
        runs.append(run)
    states = [await database.graph_state("team", run.reply_message_id) for run in runs]
    assert [state and state.value for state in states] == [None, b"1", b"2"]
    assert await database.graph_state("other", runs[2].reply_message_id) is None
    # a message that takes the last turn back stands where that one stood
    assert (await database.graph_state("team", runs[2].input_message_id)).value == b"1"
    other, _ = await running(database, thread_id=runs[0].thread_id, graph="other")
    await leave(database, other, b"other")
    again, _ = await running(database, thread_id=runs[0].thread_id)
    assert (await database.graph_state("team", again.input_message_id)).value == b"2"
    assert (await database.graph_state("other", again.input_message_id)).value == b"other"


async def test_a_state_is_stored_with_the_end_of_its_run_or_not_at_all(database):
    run, _ = await running(database)
    await database.claim(run.id, "another", held_by=database.worker_id)
    with pytest.raises(Fenced):
        await leave(database, run, b"lost")
    assert await database.graph_state("team", run.reply_message_id) is None


async def test_writes_and_namespaces_of_a_run_are_its_own(database):
    run, fence = await running(database)
    other, other_fence = await running(database)
    await database.write(transactions.append, fence, run.emitted, [], [("", "earlier", task_write())])
    for owner, namespace in ((fence, "kept"), (fence, ""), (other_fence, "elsewhere")):
        await database.write(transactions.put_checkpoint, owner, 1, [], checkpoint(namespace=namespace))
    assert await database.checkpoint_writes(run.id, "", "earlier") == (task_write(),)
    assert await database.checkpoint_writes(other.id, "", "earlier") == ()
    assert sorted(await database.namespaces(run.id)) == ["", "kept"]


async def test_spending_and_active_runs_are_counted_per_user(database):
    run, fence = await running(database)
    await database.write(transactions.accept, acceptance(thread_id=run.thread_id))
    assert [await database.active_runs(user) for user in ("ada", "bob")] == [2, 0]
    end = [note(kind="end", at=DAY_MS)]
    await database.write(transactions.finish, fence, 1, end, status="completed", message=None, result=b"", tokens=7)
    assert [await database.active_runs(user) for user in ("ada", "bob")] == [1, 0]
    days = [await database.tokens_used("ada", day * DAY_MS) for day in (0, 1, 2)]
    assert days == [0, 7, 0]
    assert await database.tokens_used("bob", DAY_MS) == 0


async def test_tickets_and_revocations_are_shared_by_all_instances(database, second):
    await database.write(transactions.issue_ticket, b"digest", b"ada", 0, 10)
    assert await second.write(transactions.redeem_ticket, b"digest", 5) == b"ada"
    assert await database.write(transactions.redeem_ticket, b"digest", 5) is None
    await database.write(transactions.revoke, "user", "ada", 5)
    assert await second.revocations() == [("user", "ada", 5)]


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"thread_id": "nowhere"}, NotFound),
        ({"on_busy": "reject"}, Busy),
        ({"idempotency": ("key", b"other")}, IdempotencyConflict),
    ],
)
async def test_a_refused_message_raises_the_documented_error(database, given, error):
    run, _ = await running(database, idempotency=("key", b"digest"))
    with pytest.raises(error):
        await database.write(transactions.accept, acceptance(**({"thread_id": run.thread_id} | given)))


async def test_a_message_id_that_is_taken_raises_a_storage_error(database):
    await running(database, message_id="chosen by the client")
    with pytest.raises(StorageError):
        await running(database, message_id="chosen by the client")


async def test_a_repeated_request_is_found(database):
    run, _ = await running(database, idempotency=("key", b"digest"))
    assert await database.write(transactions.repeated, "ada", "key", b"digest") == run
    assert await database.write(transactions.repeated, "ada", "other", b"digest") is None
    with pytest.raises(IdempotencyConflict):
        await database.write(transactions.repeated, "ada", "key", b"other")


async def test_errors_of_the_log_reach_the_caller(database):
    _, fence = await running(database)
    with pytest.raises(Fenced):
        await database.write(transactions.append, Fence(run_id=fence.run_id, epoch=7), 1, notes(1))
    with pytest.raises(NotFound):
        await database.claim("nowhere", "w")


async def test_what_is_not_there_is_nothing(database):
    assert await database.read("nowhere", 0, 10) == []
    assert await database.messages("nowhere") == []
    assert await database.run("nowhere") is None
    assert await database.thread("nowhere") is None


# -- checkpoints ------------------------------------------------------------------------------------------------


async def test_checkpoints_come_newest_first_and_by_id_namespace_and_limit(database):
    run, fence = await running(database)
    for number in (1, 2, 3):
        await database.write(transactions.put_checkpoint, fence, 1, [], checkpoint(f"c{number}"))
    await database.write(transactions.put_checkpoint, fence, 1, [], checkpoint("c9", "inner"))

    async def ids(namespace=None, before=None, limit=None) -> list[str]:
        return [one.checkpoint.id for one in await database.checkpoints(run.id, namespace, before, limit)]

    assert await ids() == ["c9", "c3", "c2", "c1"]
    assert await ids("") == ["c3", "c2", "c1"]
    assert await ids("", before="c3") == ["c2", "c1"]
    assert await ids("", limit=1) == ["c3"]
    assert await database.checkpoint(run.id, "", None) == StoredCheckpoint(checkpoint=checkpoint("c3"), writes=())
    assert await database.checkpoint(run.id, "", "c2") == StoredCheckpoint(checkpoint=checkpoint("c2"), writes=())
    assert await database.checkpoint(run.id, "", "c9") is None
    assert await database.checkpoint("nowhere", "", None) is None


async def test_a_checkpoint_comes_with_the_writes_of_its_own_tasks_in_order(database):
    run, fence = await running(database)
    await database.write(transactions.put_checkpoint, fence, 1, notes(1), checkpoint())
    tasks = [("t2", "~1"), ("t1", "~2"), ("t3", "~2")]  # in the order of their paths, then of their ids
    writes = [task_write(position, b"%d" % position, *task) for task in tasks for position in (-1, 0, 1)]
    rows = [("", "c1", write) for write in reversed(writes)] + [("", "other", task_write()), ("in", "c1", task_write())]
    assert await database.write(transactions.append, fence, 2, notes(1), rows) == 3
    found = await database.checkpoint(run.id, "", "c1")
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
