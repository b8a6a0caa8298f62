"""Loads files into a store: Markdown and plain text, one document each."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import msgspec

from antiphon.rag.split import read_document, split
from antiphon.rag.stores.base import Store

SUFFIXES = (".md", ".markdown", ".txt")
SAMPLE = Path(__file__).with_name("sample")
"""The shipped handbook of an invented vehicle."""


def ingest(store: Store, paths: Iterable[Path]) -> int:
    """Store all text files in some paths. Return the number of documents.

    A document's uri is its path inside the folder that was named, or as much more of its path as
    distinguishes it from a document of another file, which stays. Raises `FileNotFoundError` for a
    missing path and `ValueError` for a file that is not UTF-8 text.
    """
    sources = {uri: Path(source) for uri, source in store.sources().items()}
    files = {uri: file for uri, file in sources.items() if file.exists()}
    uris = {file: uri for uri, file in files.items()}
    stored = set()
    for path in paths:
        for file, name in _files(path):
            if file not in uris:
                uris[file] = _free_uri(file, name, files)
            uri = uris[file]
            files[uri] = file
            document = msgspec.structs.replace(read_document(uri, _text(file)), source=str(file))
            store.put(document, split(document))
            stored.add(uri)
    return len(stored)


def _free_uri(file: Path, name: str, files: Container[str]) -> str:
    """Return the shortest name for a file that no other file has."""
    return next(uri for uri in _names(file, name) if uri not in files)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 text") from error


def _names(file: Path, name: str) -> Iterator[str]:
    """Yield names for a file, the shortest first.

    The first is its path inside the named folder; each further one has one more folder around that.
    """
    yield name
    for parent in list(file.parents)[name.count("/") + 1 :]:
        yield file.relative_to(parent).as_posix()
    yield file.as_posix()


def ingest_sample(store: Store) -> int:
    """Load the shipped handbook into an empty store. Return the number of documents loaded."""
    return 0 if store.documents() else ingest(store, [SAMPLE])


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield the absolute paths of text files, and their paths inside the folder that was named."""
    if path.is_file():
        yield path.parent.resolve() / path.name, path.name
        return
    if not path.is_dir():
        raise FileNotFoundError(path)
    folder = path.resolve()
    for file in sorted(folder.rglob("*")):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield file, file.relative_to(folder).as_posix()
