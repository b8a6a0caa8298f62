"""Files become documents; ingesting again replaces."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.rag.ingest import SAMPLE, ingest, ingest_sample
from antiphon.rag.types import PUBLIC


def found(store, word: str, *access: str) -> list[str]:
    return [hit.chunk.document for hit in store.search([word], access or [PUBLIC], 50)]


def test_the_shipped_sample_is_24_documents_of_which_4_are_internal(sample):
    assert sample.documents() == len(list(SAMPLE.glob("*.md"))) == 24
    assert (
        len({hit.chunk.document for hit in sample.search(["merula", "page"], ["internal"], 500)})
        == 4
    )


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


def write(file, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("at_once", [True, False])
def test_files_of_the_same_name_from_two_folders_are_two_documents(store, tmp_path, at_once):
    folders = [tmp_path / "here" / "docs", tmp_path / "there" / "docs", tmp_path / "one"]
    for number, folder in enumerate(folders):
        write(folder / "deep" / "a.md", f"word{number}")
    calls = [folders] if at_once else [[folder] for folder in folders]
    for _ in "12":
        assert sum(ingest(store, call) for call in calls) == store.documents() == 3
        names = [found(store, f"word{number}") for number in range(3)]
        assert names == [["deep/a.md"], ["docs/deep/a.md"], ["one/deep/a.md"]]


def test_a_file_keeps_its_name_however_it_is_reached(store, tmp_path, monkeypatch):
    write(tmp_path / "docs" / "deep" / "a.md", "engine")
    ingest(store, [tmp_path / "docs"])
    monkeypatch.chdir(tmp_path / "docs")
    for path in ("deep", "deep/a.md", "../docs/deep"):
        assert ingest(store, [Path(path)]) == store.documents() == 1
    assert found(store, "engine") == ["deep/a.md"]


def test_a_folder_that_was_moved_is_not_there_twice(store, tmp_path):
    write(tmp_path / "old" / "a.md", "engine")
    ingest(store, [tmp_path / "old"])
    (tmp_path / "old").rename(tmp_path / "new")
    ingest(store, [tmp_path / "new"])
    assert (store.documents(), found(store, "engine")) == (1, ["a.md"])
