"""A database on every backend: opening, writing, reading, watching, closing."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy.exc import OperationalError

from antiphon.data import open_database, schema, transactions
from antiphon.data.database import Database
from antiphon.data.errors import Busy, Fenced, IdempotencyConflict, NotFound, StorageError
from antiphon.data.records import Fence, Row
from tests.data.support import PATIENCE, acceptance, note, notes, running, stored


async def test_a_database_is_opened_by_its_url(url):
    database = await open_database(url)
    assert isinstance(database, Database)
    await database.close()


async def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'oracle'.*sqlite"):
        await open_database("oracle://somewhere")


async def test_nothing_is_taken_after_close(url):
    database = await open_database(url)
    await database.close()
    with pytest.raises(StorageError, match="closed"):
        await database.write(transactions.accept, acceptance())


async def test_close_is_idempotent(url):
    database = await open_database(url)
    await database.close()
    await database.close()


async def test_readers_cannot_write(database):
    async with database._backend.reader.connect() as connection:
        with pytest.raises(OperationalError, match="readonly"):
            await connection.execute(schema.workers.delete())


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


async def test_the_tail_and_the_database_give_the_same_rows(database, outside):
    run, fence = await running(database)
    await database.write(
        transactions.append, fence, 1, [note(bytes([number]), at=number) for number in range(50)]
    )
    recent = await database.read(run.thread_id, 0, 1000)
    database._tail.clear()
    assert await database.read(run.thread_id, 0, 1000) == recent == stored(outside, Row)
    assert await database.read(run.thread_id, 10, 5) == recent[10:15]


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
        await database.write(
            transactions.accept, acceptance(**({"thread_id": run.thread_id} | given))
        )


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
