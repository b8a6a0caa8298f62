"""The FTS5 store: words are only words, labels decide, putting replaces."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.rag import open_store
from antiphon.rag.ingest import ingest
from antiphon.rag.types import PUBLIC, Chunk
from tests.rag.support import ids, put

LABELS = st.sampled_from(["public", "internal", "team a", 'odd "label" OR *', ""])
SYNTAX = [
    '" OR 1',
    "NEAR(",
    "*",
    '"',
    '""',
    "'",
    "body:",
    "{heading body} :",
    "^engine",
    "a AND",
    "(",
    "-",
    "",
    "label",
    "\n",
]
ON_ONE_FILE = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None
)


def test_an_unknown_scheme_names_the_known_ones():
    with pytest.raises(ValueError, match=r"'oracle'.*sqlite"):
        open_store("oracle://somewhere")


def test_a_hit_is_the_chunk_that_was_put(store):
    put(store, "a.md", "the engine", "the brakes")
    (hit,) = store.search(["brakes"], [PUBLIC], 5)
    assert hit.chunk == Chunk(
        document="a.md", ordinal=1, heading="Title", text="the brakes", access=PUBLIC
    )
    assert hit.id == "a.md#1"


def test_forms_of_a_word_find_each_other(store):
    put(store, "a.md", "the brake was squealing")
    assert ids(store.search(["brakes", "squeal"], [PUBLIC], 5)) == ["a.md#0"]


def test_a_heading_weighs_more_than_a_text_and_two_words_more_than_one(store):
    put(store, "text.md", "engine engine so on")
    put(store, "heading.md", "something and so on", heading="Engine")
    put(store, "both.md", "engine power so on", heading="Engine")
    hits = store.search(["engine", "power"], [PUBLIC], 5)
    assert ids(hits) == ["both.md#0", "heading.md#0", "text.md#0"]
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


def test_equal_hits_come_in_the_order_of_their_names(store):
    for uri in ("b.md", "a.md", "c.md"):
        put(store, uri, "engine", "engine")
    assert ids(store.search(["engine"], [PUBLIC], 4)) == ["a.md#0", "a.md#1", "b.md#0", "b.md#1"]


def test_no_words_find_nothing(store):
    put(store, "a.md", "engine")
    assert store.search([], [PUBLIC], 5) == []


# -- syntax ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", SYNTAX)
def test_syntax_of_the_search_is_only_text(store, word):
    put(store, "a.md", "unrelated words")
    put(store, "b.md", "engine")
    assert ids(store.search([word], [PUBLIC], 5)) == (["b.md#0"] if "engine" in word else [])
    assert "a.md#0" in ids(store.search([word, "unrelated"], [PUBLIC], 5))


@ON_ONE_FILE
@given(
    st.lists(
        st.text(alphabet=st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        max_size=5,
    )
)
def test_any_words_are_searched_for_without_an_error_and_within_the_labels(store, words):
    put(store, "public.md", "engine", *words)
    put(store, "internal.md", "engine", *words, access="internal")
    hits = store.search([*words, "engine"], [PUBLIC], 50)
    assert "public.md#0" in ids(hits)
    assert {hit.chunk.access for hit in hits} == {PUBLIC}


@pytest.mark.parametrize("word", ["\0", "eng\0ine"])
def test_a_nul_is_only_text(store, word):
    put(store, "a.md", "engine")
    assert ids(store.search([word, "engine"], [PUBLIC], 5)) == ["a.md#0"]


def test_a_label_cannot_be_forged_by_text_or_query(store):
    from antiphon.rag.stores.sqlite import _label

    put(
        store,
        "secret.md",
        f"engine {_label(PUBLIC)} public",
        access="internal",
        heading=_label(PUBLIC),
    )
    put(store, "open.md", "brakes")
    for words in (
        ["engine"],
        [_label(PUBLIC)],
        [_label("internal")],
        [f"label : {_label('internal')}"],
        ["internal"],
    ):
        assert store.search(words, [PUBLIC], 5) == []


# -- access ----------------------------------------------------------------------------------------


@ON_ONE_FILE
@given(
    documents=st.lists(LABELS, min_size=1, max_size=8),
    access=st.sets(LABELS),
    limit=st.integers(1, 10),
)
def test_exactly_what_may_be_seen_is_found(store, documents, access, limit):
    store.clear()
    for number, label in enumerate(documents):
        put(store, f"{number}.md", "engine", access=label)
    visible = [f"{number}.md#0" for number, label in enumerate(documents) if label in access]
    assert ids(store.search(["engine"], access, limit)) == visible[:limit]


@pytest.mark.parametrize("limit", [1, 8])
def test_the_only_visible_one_of_forty_is_found_and_no_other(store, limit):
    for number in range(39):
        put(
            store,
            f"internal {number}.md",
            "engine power " * 5,
            access="internal",
            heading="Engine power",
        )
    put(store, "public.md", "a long text that mentions the engine once", heading="Something else")
    assert ids(store.search(["engine", "power"], [PUBLIC], limit)) == ["public.md#0"]


def test_without_any_label_nothing_is_visible(store):
    put(store, "a.md", "engine")
    put(store, "b.md", "engine", access="")
    assert store.search(["engine"], [], 5) == []


# -- putting ---------------------------------------------------------------------------------------


def test_putting_again_replaces(store):
    put(store, "a.md", "engine", "engine", "engine")
    put(store, "a.md", "brakes")
    assert store.search(["engine"], [PUBLIC], 5) == []
    assert ids(store.search(["brakes"], [PUBLIC], 5)) == ["a.md#0"]
    assert store.documents() == 1


def test_a_document_that_becomes_internal_is_no_longer_public(store):
    put(store, "a.md", "engine")
    put(store, "a.md", "engine", access="internal")
    assert store.search(["engine"], [PUBLIC], 5) == []
    assert ids(store.search(["engine"], ["internal"], 5)) == ["a.md#0"]


def test_a_document_that_cannot_be_stored_leaves_the_old_one(store):
    put(store, "a.md", "engine")
    with pytest.raises(UnicodeEncodeError):
        put(store, "a.md", "brakes", "\ud800")
    assert ids(store.search(["engine"], [PUBLIC], 5)) == ["a.md#0"]
    assert store.search(["brakes"], [PUBLIC], 5) == []


def test_clear_forgets_everything(store):
    put(store, "a.md", "engine")
    store.clear()
    assert store.documents() == 0
    assert store.search(["engine"], [PUBLIC], 5) == []


def test_what_was_put_is_there_after_reopening(tmp_path):
    url = f"sqlite:///{tmp_path}/deep/knowledge.db"
    first = open_store(url)
    put(first, "a.md", "engine")
    first.close()
    first.close()
    again = open_store(url)
    assert ids(again.search(["engine"], [PUBLIC], 5)) == ["a.md#0"]
    again.close()


def test_a_file_of_an_earlier_version_is_taken(tmp_path):
    with closing(sqlite3.connect(tmp_path / "knowledge.db")) as earlier, earlier:
        earlier.execute(
            "CREATE TABLE documents"
            " (uri TEXT PRIMARY KEY, title TEXT NOT NULL, access TEXT NOT NULL)"
        )
        earlier.execute("INSERT INTO documents VALUES ('a.md', 'A', 'public')")
    (tmp_path / "a.md").write_text("engine")
    store = open_store(f"sqlite:///{tmp_path}/knowledge.db")
    assert (store.documents(), store.sources()) == (1, {})
    ingest(store, [tmp_path])
    assert (store.documents(), store.sources()) == (1, {"a.md": str(tmp_path / "a.md")})
    store.close()


def test_many_threads_may_put_and_search_at_once(store):
    start = threading.Barrier(8)

    def work(number: int) -> int:
        start.wait(10)
        for round_ in range(5):
            put(store, f"{number}.md", f"engine {round_}")
            assert f"{number}.md#0" in ids(store.search(["engine"], [PUBLIC], 50))
        return number

    with ThreadPoolExecutor(8) as threads:
        assert sorted(threads.map(work, range(8))) == list(range(8))
    assert len(store.search(["engine"], [PUBLIC], 50)) == 8


def test_a_store_that_another_process_is_just_making_is_waited_for(tmp_path):
    """A change to WAL does not wait for a lock by itself."""
    path = tmp_path / "new.db"
    with (
        closing(sqlite3.connect(path, isolation_level=None)) as other,
        ThreadPoolExecutor(1) as threads,
    ):
        other.execute("BEGIN IMMEDIATE")
        opening = threads.submit(open_store, f"sqlite:///{path}")
        with pytest.raises(TimeoutError):
            opening.result(timeout=0.2)
        other.execute("ROLLBACK")
        with closing(opening.result(timeout=10)) as store:
            assert store.documents() == 0
