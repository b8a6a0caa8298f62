"""The database in memory: of one process, gone after `close`; reading and writing take turns."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from antiphon.data import open_database, reads, transactions
from antiphon.data.database import Database
from antiphon.data.errors import StorageError
from antiphon.data.memory import MemoryBackend
from antiphon.data.records import Item, ItemWrite
from antiphon.data.transactions import Transaction
from tests.data.support import ROOT, acceptance, running

PLACE = ("notes",)


@pytest.fixture
async def database() -> AsyncIterator[Database]:
    opened = await open_database("memory://")
    yield opened
    await opened.close()


def item(key: str) -> ItemWrite:
    return ItemWrite(namespace=PLACE, key=key, value=b"{}")


async def test_each_opening_is_a_database_of_its_own(database):
    other = await open_database("memory://")
    run, _ = await running(database)
    assert await database.fetch(reads.run, run.id) == run
    assert await other.fetch(reads.run, run.id) is None
    await other.close()


async def test_nothing_is_left_after_close():
    closed = await open_database("memory://")
    name = closed._backend._name
    await running(closed)
    await closed.close()
    with sqlite3.connect(f"{name}?vfs=memdb", uri=True) as connection:
        assert connection.execute("SELECT * FROM sqlite_master").fetchall() == []
    connection.close()


async def test_a_name_is_refused_as_it_would_suggest_that_two_can_share_it():
    with pytest.raises(StorageError, match="memory://shared"):
        await open_database("memory://shared")


async def test_a_reader_waits_for_the_transaction_under_way_and_sees_all_of_it(database):
    inside, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def accept_twice(tx: Transaction) -> str:
        first = transactions.accept(tx, acceptance(worker="w"))
        loop.call_soon_threadsafe(inside.set)
        go_on.wait(20)
        again = acceptance(worker="w", thread_id=first.run.thread_id)
        transactions.accept(tx, again)
        return first.run.thread_id

    writing = asyncio.create_task(database.write(accept_twice))
    await inside.wait()
    reading = asyncio.create_task(database.fetch(reads.threads_of, "ada", 9))
    scanning = database.scan(reads.threads_of, "ada", 9)
    go_on.set()
    thread_id = await writing
    for threads in (await reading, await asyncio.wrap_future(scanning)):
        assert [(thread.id, thread.last_seq) for thread in threads] == [(thread_id, 2)]


async def test_a_reader_never_sees_what_is_undone(database):
    inside, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def fail(tx: Transaction) -> None:
        transactions.accept(tx, acceptance(worker="w"))
        loop.call_soon_threadsafe(inside.set)
        go_on.wait(20)
        raise LookupError

    writing = asyncio.create_task(database.write(fail))
    await inside.wait()
    reading = asyncio.create_task(database.fetch(reads.threads_of, "ada", 9))
    go_on.set()
    with pytest.raises(LookupError):
        await writing
    assert await reading == []


async def test_a_scan_that_waits_for_a_write_gets_its_answer(database):
    database.submit(transactions.put_items, [item("old")], 1).result(20)

    def fold(rows: Iterator[tuple[Item, bytes]]) -> list[str]:
        database.submit(transactions.put_items, [item("new")], 2).result(20)
        return [found.key for found, _ in rows]

    assert database.scan(reads.scan_items, PLACE, 1, None, fold).result(20) == ["old"]
    assert len(database.scan(reads.scan_items, PLACE, 1, None, list).result(20)) == 2


async def test_a_new_writing_connection_finds_what_the_lost_one_has_committed(database):
    run, _ = await running(database)

    def lose(tx: Transaction) -> None:
        tx.execute("DELETE FROM runs")
        raise SystemExit("not an error of the command")

    with pytest.raises(StorageError, match="not an error"):
        await database.write(lose)
    assert await database.fetch(reads.run, run.id) == run
    assert (await running(database))[0].status == "running"


def test_the_document_about_backends_shows_this_one() -> None:
    source = inspect.getsource(MemoryBackend)
    assert f"```python\n{source}```" in (ROOT / "docs/adding.md").read_text(encoding="utf-8")
