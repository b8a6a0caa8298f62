"""Databases on every backend, and what needs SQLite's files: a second instance, a given path."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.data import open_database
from antiphon.data.base import WritingConnection
from antiphon.data.database import Database

BACKENDS = ["sqlite", "memory"]
"""What tests of a database run on, each on all; those marked `files` only on the first."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "files: needs files, other processes, or a second instance")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "backend" in metafunc.fixturenames:
        needs_files = metafunc.definition.get_closest_marker("files")
        metafunc.parametrize("backend", BACKENDS[:1] if needs_files else BACKENDS)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
def url(backend: str, path: Path) -> str:
    return {"sqlite": f"sqlite:///{path}", "memory": "memory://"}[backend]


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    opened = await open_database(url)
    yield opened
    await opened.close()


@pytest.fixture
async def second(path: Path, database: Database) -> AsyncIterator[Database]:
    """Another instance on the same file."""
    opened = await open_database(f"sqlite:///{path}")
    yield opened
    await opened.close()


@pytest.fixture
def outside(database: Database) -> Iterator[WritingConnection]:
    """A connection that the database object does not use: it sees what is committed."""
    with closing(database._backend.connect()) as connection:
        yield connection
