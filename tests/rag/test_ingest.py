"""Files become documents; ingesting again replaces."""

from __future__ import annotations

import pytest

from rag.ingest import SAMPLE, ingest, ingest_sample
from rag.types import PUBLIC


def found(store, word: str, *access: str) -> list[str]:
    return [hit.chunk.document for hit in store.search([word], access or [PUBLIC], 50)]


def test_the_shipped_sample_is_24_documents_of_which_4_are_internal(sample):
    assert sample.documents() == len(list(SAMPLE.glob("*.md"))) == 24
    assert len({hit.chunk.document for hit in sample.search(["merula", "page"], ["internal"], 500)}) == 4


def test_the_sample_goes_into_an_empty_store_only(store, tmp_path):
    (tmp_path / "mine.md").write_text("engine")
    ingest(store, [tmp_path / "mine.md"])
    assert ingest_sample(store) == 0
    assert store.documents() == 1
    store.clear()
    assert ingest_sample(store) == 24
    assert ingest_sample(store) == 0


def test_text_files_below_a_folder_are_named_by_their_path(store, tmp_path):
    files = ["a.md", "deep/er/b.markdown", "c.TXT", "d.pdf", "e"]
    for name in files:
        (tmp_path / "docs" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / name).write_text("engine")
    assert ingest(store, [tmp_path / "docs"]) == 3
    assert sorted(found(store, "engine")) == ["a.md", "c.TXT", "deep/er/b.markdown"]


def test_a_file_is_named_by_its_name(store, tmp_path):
    (tmp_path / "a.md").write_text("engine")
    assert ingest(store, [tmp_path / "a.md"]) == 1
    assert found(store, "engine") == ["a.md"]


def test_ingesting_again_replaces(store, tmp_path):
    file = tmp_path / "a.md"
    file.write_text("engine\n\n" + "words " * 500)
    ingest(store, [tmp_path])
    file.write_text("---\naccess: internal\n---\nbrakes")
    ingest(store, [tmp_path])
    assert store.documents() == 1
    assert found(store, "engine", PUBLIC, "internal") == []
    assert found(store, "brakes") == []
    assert found(store, "brakes", "internal") == ["a.md"]


def test_a_byte_order_mark_does_not_hide_front_matter(store, tmp_path):
    (tmp_path / "a.md").write_text("---\naccess: internal\n---\nengine", encoding="utf-8-sig")
    ingest(store, [tmp_path])
    assert found(store, "engine") == []
    assert found(store, "engine", "internal") == ["a.md"]


def test_a_path_that_is_not_there_is_an_error(store, tmp_path):
    with pytest.raises(FileNotFoundError):
        ingest(store, [tmp_path / "nowhere"])


def test_a_file_that_is_no_text_is_named(store, tmp_path):
    (tmp_path / "a.md").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"a\.md is not UTF-8"):
        ingest(store, [tmp_path])


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="rag.ingest: a uri is the path below the named folder, so files of the same name from two folders replace"
    " each other silently, and the count says that both are there",
)
def test_files_of_the_same_name_from_two_folders_are_two_documents(store, tmp_path):
    for folder, text in (("one", "engine"), ("two", "brakes")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.md").write_text(text)
    assert ingest(store, [tmp_path / "one", tmp_path / "two"]) == store.documents()
