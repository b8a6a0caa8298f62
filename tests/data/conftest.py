"""Databases and connections on real files."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from antiphon.data import open_database
from antiphon.data.database import Database


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.db"


@pytest.fixture
async def database(path: Path) -> AsyncIterator[Database]:
    opened = await open_database(f"sqlite:///{path}")
    yield opened
    await opened.close()


@pytest.fixture
async def second(path: Path, database: Database) -> AsyncIterator[Database]:
    """Another instance on the same file."""
    opened = await open_database(f"sqlite:///{path}")
    yield opened
    await opened.close()


@pytest.fixture
def outside(path: Path, database: Database) -> Iterator[sqlite3.Connection]:
    """A connection that has nothing to do with the database object: it sees what is committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        yield connection
