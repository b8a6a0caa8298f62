"""Items: what graphs keep across threads, by namespace and key."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.data import open_database, reads, transactions
from antiphon.data.database import Database
from antiphon.data.errors import StorageError
from antiphon.data.records import Item, ItemWrite, Namespace

HERE = ("notes", "ada")


def write(
    key: str = "k", value: bytes | None = b"{}", namespace: Namespace = HERE, **given: Any
) -> ItemWrite:
    return ItemWrite(namespace=namespace, key=key, value=value, **given)


def item(key: str = "k", value: bytes = b"{}", at: int = 1, **given: Any) -> Item:
    times = {"created_at": at, "updated_at": at}
    return Item(**({"namespace": HERE, "key": key, "value": value} | times | given))


class Waited:
    """A database whose answers are waited for where they are asked for: here, on its event loop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def __getattr__(self, method: str) -> Any:
        if method in ("put_items", "refresh_items", "sweep_items"):
            write = getattr(transactions, method)
            return lambda *given: self._database.submit(write, *given).result(timeout=30)
        read = getattr(reads, method)
        return lambda *given: self._database.scan(read, *given).result(timeout=30)


@pytest.fixture
def waited(database: Database) -> Waited:
    return Waited(database)


def scanned(
    waited: Waited, prefix: Namespace = (), now: int = 1, embedder: str | None = None
) -> list[tuple[Item, bytes]]:
    found: list[tuple[Item, bytes]] = waited.scan_items(prefix, now, embedder, list)
    return found


def keys(waited: Waited, prefix: Namespace = (), now: int = 1) -> list[str]:
    return [found.key for found, _ in scanned(waited, prefix, now)]


async def test_an_item_is_kept_changed_and_forgotten(waited):
    waited.put_items([write(value=b"one")], 1)
    assert waited.items_at([(HERE, "k")], 1) == [item(value=b"one")]
    waited.put_items([write(value=b"two")], 2)
    assert waited.items_at([(HERE, "k")], 2) == [item(value=b"two", updated_at=2)]
    waited.put_items([write(value=None)], 3)
    assert waited.items_at([(HERE, "k")], 3) == []
    waited.put_items([write(value=b"three")], 4)
    assert waited.items_at([(HERE, "k")], 4) == [item(value=b"three", at=4)]


async def test_all_of_a_batch_is_stored_or_nothing(waited):
    waited.put_items([write("old")], 1)
    with pytest.raises(sqlite3.Error):
        waited.put_items([write("new"), write("old", None), write(7.5, {})], 2)  # type: ignore[arg-type]
    assert keys(waited) == ["old"]


async def test_a_namespace_holds_what_is_inside_it_and_none_that_only_begins_alike(waited):
    for number, place in enumerate(
        [("a",), ("a", "b"), ("a", "b", "c"), ("ab",), ("a-b",), ("a/b",), ("A",), ("b", "a")]
    ):
        waited.put_items([write(str(number), namespace=place)], 1)
    assert keys(waited, ("a",)) == ["2", "1", "0"]
    assert keys(waited, ("a", "b")) == ["2", "1"]
    assert keys(waited, ("a", "b", "c", "d")) == []
    assert len(keys(waited)) == 8
    assert sorted(waited.item_namespaces(("a",), 1)) == [
        ("a",),
        ("a", "b"),
        ("a", "b", "c"),
    ]
    assert len(waited.item_namespaces((), 1)) == 8


LABEL = st.text(
    st.characters(exclude_characters=".\0", exclude_categories=["Cs"]), min_size=1, max_size=3
)
PLACES = st.lists(
    st.lists(LABEL, min_size=1, max_size=3).map(tuple), min_size=1, max_size=6, unique=True
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(places=PLACES, prefix=st.lists(LABEL, max_size=2).map(tuple))
async def test_any_namespace_holds_exactly_what_begins_with_all_its_labels(waited, places, prefix):
    waited.put_items([write(namespace=place) for place in places], 1)
    inside = {place for place in places if place[: len(prefix)] == prefix}
    assert {found.namespace for found, _ in scanned(waited, prefix)} == inside
    assert set(waited.item_namespaces(prefix, 1)) == inside
    waited.put_items([write(value=None, namespace=place) for place in places], 1)


async def test_the_last_written_comes_first(waited):
    waited.put_items([write("a"), write("b"), write("c")], 1)
    waited.put_items([write("a", b"again")], 1)
    assert keys(waited, HERE) == keys(waited) == ["a", "c", "b"]


async def test_a_scan_may_stop_early_and_raise(waited):
    waited.put_items([write(str(number)) for number in range(300)], 1)

    def first(rows: Iterator[tuple[Item, bytes]]) -> str:
        return next(rows)[0].key

    def broken(rows: Iterator[tuple[Item, bytes]]) -> str:
        raise LookupError(first(rows))

    for _ in range(9):
        assert waited.scan_items(HERE, 1, None, first) == "299"
        with pytest.raises(LookupError, match="299"):
            waited.scan_items(HERE, 1, None, broken)


async def test_a_scan_sees_one_state_whatever_is_written_meanwhile(waited, outside):
    waited.put_items([write(str(number), b"old") for number in range(300)], 1)

    def fold(rows: Iterator[tuple[Item, bytes]]) -> list[bytes]:
        values = [next(rows)[0].value]
        outside.execute("UPDATE store_items SET value = x'00'")
        outside.execute("DELETE FROM store_items WHERE key < '2'")
        return values + [found.value for found, _ in rows]

    assert waited.scan_items(HERE, 1, None, fold) == [b"old"] * 300


async def test_vectors_come_only_for_the_embedder_that_made_them(waited):
    waited.put_items([write("a", vectors=b"1234", embedder="one"), write("b")], 1)
    for embedder, vectors in (("one", b"1234"), ("other", b""), (None, b"")):
        found = scanned(waited, HERE, embedder=embedder)
        assert [(one.key, known) for one, known in found] == [("b", b""), ("a", vectors)]
    waited.put_items([write("a")], 2)
    assert scanned(waited, HERE, embedder="one") == [
        (item("a", updated_at=2), b""),
        (item("b"), b""),
    ]


async def test_what_has_ended_is_not_there_any_more_and_using_it_keeps_it(waited):
    waited.put_items([write("a", ttl=10), write("b")], 1)
    assert waited.items_at([(HERE, "a")], 10) == [item("a", ttl=10)]
    waited.refresh_items([(HERE, "a"), (HERE, "b"), (HERE, "c")], 10)
    assert keys(waited, HERE, 19) == ["b", "a"]
    assert keys(waited, HERE, 20) == ["b"]
    assert waited.items_at([(HERE, "a")], 20) == []
    waited.refresh_items([(HERE, "a")], 20)
    assert waited.items_at([(HERE, "a")], 20) == [], "what is over is not brought back"
    waited.put_items([write("a", ttl=10)], 20)
    assert waited.items_at([(HERE, "a")], 20) == [item("a", at=20, ttl=10)], "it is a new one"
    waited.put_items([write("a")], 21)
    assert waited.items_at([(HERE, "a")], 999) == [item("a", created_at=20, updated_at=21)]


async def test_a_namespace_whose_items_have_ended_is_none(waited):
    waited.put_items([write(namespace=("x",), ttl=1), write(namespace=("y",))], 1)
    assert sorted(waited.item_namespaces((), 1)) == [("x",), ("y",)]
    assert waited.item_namespaces((), 2) == [("y",)]


async def test_what_has_ended_is_deleted_in_portions(waited, outside):
    waited.put_items([write(str(number), ttl=number) for number in range(5)], 1)
    assert [waited.sweep_items(4, 2) for _ in range(3)] == [2, 2, 0]
    assert outside.execute("SELECT key FROM store_items").fetchall() == [("4",)]


async def test_a_closed_database_refuses_and_what_was_asked_before_is_answered(url):
    database = await open_database(url)
    putting = database.submit(transactions.put_items, [write()], 1)
    scanning = database.scan(reads.scan_items, HERE, 1, None, list)
    await database.close()
    assert putting.done()
    assert scanning.done()
    for call in (
        lambda: database.submit(transactions.put_items, [write()], 1),
        lambda: database.submit(transactions.sweep_items, 1, 1),
        lambda: database.scan(reads.scan_items, HERE, 1, None, list),
    ):
        with pytest.raises(StorageError):
            call()


async def test_a_table_that_cannot_be_read_is_a_failure_of_the_store(waited, outside):
    outside.execute("DROP TABLE store_items")
    for call in (lambda: waited.items_at([(HERE, "k")], 1), lambda: keys(waited)):
        with pytest.raises(StorageError, match="cannot read"):
            call()


@pytest.mark.files
async def test_another_process_sees_it(waited, second):
    waited.put_items([write(value=b"one")], 1)
    assert Waited(second).items_at([(HERE, "k")], 1) == [item(value=b"one")]
    Waited(second).put_items([write(value=b"two")], 2)
    assert waited.items_at([(HERE, "k")], 2) == [item(value=b"two", updated_at=2)]
