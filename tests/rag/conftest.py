"""A knowledge store on a real file, empty or with the shipped sample."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from antiphon.rag import open_store
from antiphon.rag.ingest import ingest_sample
from antiphon.rag.stores.base import Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/knowledge.db")
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """The shipped handbook. Nobody writes to it."""
    opened = open_store(f"sqlite:///{tmp_path_factory.mktemp('sample')}/knowledge.db")
    ingest_sample(opened)
    yield opened
    opened.close()
