"""SQLite files: durable, at any path, with several instances on one file."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from antiphon.data import open_database, reads, schema, transactions
from antiphon.data.errors import StorageError
from tests.data.support import (
    PATIENCE,
    ROOT,
    acceptance,
    checkpoint,
    notes,
    peer,
    running,
)

pytestmark = pytest.mark.files


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
        assert await database.fetch(reads.run, run.id) == run
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
            await opened.fetch(reads.run, run.id),
            await opened.fetch(reads.messages_of, run.thread_id),
            await opened.fetch(reads.named_thread, "ada", "chat", "x"),
            await opened.fetch(reads.checkpoint, run.id, "", None),
        )

    before = await kept(database)
    await database.close()
    reopened = await open_database(f"sqlite:///{path}")
    assert await kept(reopened) == before
    await reopened.close()


async def test_the_writer_syncs_every_commit_to_a_write_ahead_log(database):
    async def pragma(name: str):
        return await database._writer.submit(lambda tx: tx.one(f"PRAGMA {name}")[0])

    assert await pragma("journal_mode") == "wal"
    assert await pragma("synchronous") == 2  # FULL
    facts = await database.facts()
    assert (facts["journal_mode"], facts["synchronous"]) == ("wal", "full")


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
    command = [
        "strace",
        "-f",
        "-y",
        "-e",
        calls,
        "-o",
        str(trace),
        sys.executable,
        "-c",
        CHILD,
        f"sqlite:///{path}",
    ]
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
    """The system call on a file that succeeded in this line of a trace; it may begin earlier."""
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

    ends = [
        second.write(transactions.cancel, one.id, "ada", notes(1, "end"), b"") for one in queued
    ]
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
        *(
            one.write(transactions.accept, acceptance(**same))
            for one in (database, second)
            for _ in range(5)
        )
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


async def test_tickets_and_revocations_are_shared_by_all_instances(database, second):
    await database.write(transactions.issue_ticket, b"digest", b"ada", 0, 10)
    assert await second.write(transactions.redeem_ticket, b"digest", 5) == b"ada"
    assert await database.write(transactions.redeem_ticket, b"digest", 5) is None
    await database.write(transactions.revoke, "user", "ada", 5)
    assert await second.fetch(reads.revocations) == [("user", "ada", 5)]
