"""What every knowledge store does: those of the product, and one that a file and a row add."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.rag import STORES, knowledge_url, open_store
from antiphon.rag.ingest import SAMPLE, ingest, ingest_sample
from antiphon.rag.retriever import Retriever
from antiphon.rag.stores.base import Store
from antiphon.rag.types import PUBLIC
from tests.rag.support import ids, put

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["sqlite", "memory", "toy"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    monkeypatch.setitem(STORES, "toy", "tests.rag.toy_store:ToyStore")
    urls = {"sqlite": f"sqlite:///{tmp_path}/knowledge.db", "memory": "memory://", "toy": "toy://"}
    with closing(open_store(urls[request.param])) as opened:
        yield opened


def test_the_document_about_stores_shows_the_one_that_is_tested_here() -> None:
    source = (ROOT / "tests/rag/toy_store.py").read_text(encoding="utf-8")
    assert f"```python\n{source}```" in (ROOT / "docs/adding.md").read_text(encoding="utf-8")


def test_more_words_come_first_and_equal_ones_by_name(store: Store) -> None:
    put(store, "b.md", "engine", "brakes")
    put(store, "a.md", "engine", "engine power")
    assert ids(store.search(["engine", "power"], [PUBLIC], 9)) == ["a.md#1", "a.md#0", "b.md#0"]
    assert ids(store.search(["engine", "power"], [PUBLIC], 1)) == ["a.md#1"]
    assert store.search([], [PUBLIC], 9) == []


def test_a_reader_finds_what_has_one_of_its_labels(store: Store) -> None:
    put(store, "a.md", "engine")
    put(store, "b.md", "engine", access="internal")
    assert ids(store.search(["engine"], [PUBLIC], 9)) == ["a.md#0"]
    assert ids(store.search(["engine"], [PUBLIC, "internal"], 9)) == ["a.md#0", "b.md#0"]
    assert store.search(["engine"], [], 9) == []


def test_putting_replaces_and_clearing_deletes(store: Store) -> None:
    put(store, "a.md", "engine", "engine")
    put(store, "a.md", "brakes")
    assert store.search(["engine"], [PUBLIC], 9) == []
    assert store.documents() == 1
    store.clear()
    assert store.documents() == 0
    assert store.search(["brakes"], [PUBLIC], 9) == []


def test_documents_are_known_by_their_files(store: Store) -> None:
    assert ingest_sample(store) == store.documents()
    assert store.sources()["02-engine.md"] == str(SAMPLE / "02-engine.md")
    assert ingest(store, [SAMPLE]) == store.documents(), "the same ones again"


async def test_a_question_finds_its_page(store: Store) -> None:
    ingest_sample(store)
    retriever = Retriever(store)
    documents = {hit.chunk.document for hit in await retriever.search("What is the engine power?")}
    assert "02-engine.md" in documents
    retriever.close()


def test_a_store_belongs_to_a_database() -> None:
    beside = "sqlite:////var/lib/chat-knowledge.db"
    assert knowledge_url("sqlite:////var/lib/chat.db") == beside
    assert knowledge_url("sqlite:///chat.db") == "sqlite:///chat-knowledge.db"
    assert knowledge_url("memory://") == "memory://"
    with pytest.raises(ValueError, match="'mysql'"):
        knowledge_url("mysql://here")
