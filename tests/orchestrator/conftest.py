"""Places on the disk, and the shipped handbook as knowledge."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from antiphon.data import open_database
from antiphon.data.database import Database
from antiphon.rag import open_store
from antiphon.rag.ingest import ingest_sample
from antiphon.rag.retriever import Retriever
from tests.orchestrator.projects import forgetting


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'antiphon.db'}"


@pytest.fixture(scope="session")
def handbook(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Retriever]:
    """Finds passages of the shipped handbook."""
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('handbook') / 'knowledge.db'}")
    ingest_sample(store)
    yield Retriever(store)
    store.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """The database without an engine."""
    opened = await open_database(url)
    yield opened
    await opened.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder, which is the current one, in a process that has not imported any project yet."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    with forgetting():
        yield folder
