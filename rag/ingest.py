"""Files into a store: Markdown and plain text, one document each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from rag.split import read_document, split
from rag.stores.base import Store

SUFFIXES = (".md", ".markdown", ".txt")
SAMPLE = Path(__file__).with_name("sample")
"""The shipped handbook of an invented vehicle."""


def ingest(store: Store, paths: Iterable[Path]) -> int:
    """Store all text files below some paths. Returns how many documents that were.

    A document's uri is its path below the folder that was named. Raises `FileNotFoundError` for a path that is not
    there and `ValueError` for a file that is not UTF-8 text.
    """
    count = 0
    for path in paths:
        for file, uri in _files(path):
            try:
                text = file.read_text(encoding="utf-8-sig")
            except UnicodeDecodeError as error:
                raise ValueError(f"{file} is not UTF-8 text") from error
            document = read_document(uri, text)
            store.put(document, split(document))
            count += 1
    return count


def ingest_sample(store: Store) -> int:
    """Load the shipped handbook into an empty store. Does nothing in one that has documents."""
    return 0 if store.documents() else ingest(store, [SAMPLE])


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    if path.is_file():
        yield path, path.name
        return
    if not path.is_dir():
        raise FileNotFoundError(path)
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield file, file.relative_to(path).as_posix()
