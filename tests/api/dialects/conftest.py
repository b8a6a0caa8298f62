"""Recorded runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from antiphon.orchestrator.events import Recorded
from tests.api.recordings import EVERY_KIND, record
from tests.support.server import Teller


@pytest.fixture(scope="session")
def recordings(
    tmp_path_factory: pytest.TempPathFactory, teller: Teller
) -> dict[str, list[Recorded]]:
    """One run of each kind."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(record, tmp_path_factory.mktemp("recordings"), teller).result()


@pytest.fixture(params=EVERY_KIND)
def kind(request: pytest.FixtureRequest) -> str:
    """A kind of run."""
    name: str = request.param
    return name


@pytest.fixture
def events(kind: str, recordings: dict[str, list[Recorded]]) -> list[Recorded]:
    """A recorded run of that kind."""
    return recordings[kind]
