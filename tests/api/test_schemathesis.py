"""Whatever fits the OpenAPI document, and whatever does not: each answer is one that the document
tells."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
import schemathesis
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.config import (
    CoveragePhaseConfig,
    FuzzingPhaseConfig,
    GenerationConfig,
    PhasesConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from antiphon.api.app import create_app
from antiphon.api.dialects import DIALECTS
from antiphon.api.openapi import document_of
from antiphon.api.settings import Settings
from tests.support.server import LiveServer, running_server
from tests.support.size import trials

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    unsupported_method,
]
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module")
"""Schemathesis' own strategies do, though seeded."""
EVENTS = 80
"""Events after which a stream is left; some never end."""
SECONDS = 5.0


NAMES = ("graph", "agents", "thread_id", "primary_agent", "supporting_agents", "session_id")
"""Fields of bodies that name something which would have to be there."""


def _schema(*modes: GenerationMode, examples: int, coverage: bool) -> BaseSchema:
    generation = GenerationConfig(
        modes=list(modes),
        max_examples=examples,
        deterministic=True,
        no_shrink=True,
        database="none",
    )
    project = ProjectConfig(
        generation=generation,
        max_stream_events=EVENTS,
        request_timeout=SECONDS,
        phases=PhasesConfig(
            coverage=CoveragePhaseConfig(enabled=coverage),
            fuzzing=FuzzingPhaseConfig(generation=generation),
        ),
    )
    config = SchemathesisConfig(projects=ProjectsConfig(default=project))
    document = document_of(create_app(Settings()))
    document["paths"] = dict(
        sorted(document["paths"].items())
    )  # paths of one handler come in any order
    return schemathesis.openapi.from_dict(document, config=config)


whatever = _schema(
    GenerationMode.POSITIVE, GenerationMode.NEGATIVE, examples=trials(8, 4), coverage=True
)
sensible = _schema(GenerationMode.POSITIVE, examples=trials(6, 3), coverage=False)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("schemathesis")) as running:
        yield running


@pytest.fixture(scope="module")
def run(server: LiveServer) -> dict[str, str]:
    """The ids of a run that has ended, in a thread with more events than a stream is read."""
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        accepted: dict[str, str] = {}
        for message in ("Which oil?", "Which tyres?", "Which brakes?"):
            body = {"message": message, "thread_id": accepted.get("thread_id")}
            accepted = client.post("/api/v1/runs", json=body).json()
            client.get(f"/api/v1/runs/{accepted['run_id']}/events").read()
        assert client.get(f"/api/v1/threads/{accepted['thread_id']}").json()["last_seq"] > EVENTS
        return accepted


@pytest.fixture(scope="module")
def answered() -> set[str]:
    """The routes that have done what they are there for."""
    return set()


@whatever.parametrize()
def test_every_answer_is_one_that_the_document_tells(case: Case, server: LiveServer) -> None:
    case.call_and_validate(server.url, checks=CHECKS)


@sensible.parametrize()
def test_so_is_every_answer_to_a_sensible_request(
    case: Case, server: LiveServer, run: dict[str, str], answered: set[str]
) -> None:
    case.path_parameters = {
        name: run.get(name, value) for name, value in (case.path_parameters or {}).items()
    }
    case.headers.pop("Last-Event-ID", None)
    if isinstance(case.body, dict):
        case.body = {name: value for name, value in case.body.items() if name not in NAMES}
    for accept in _media_types(case):
        response = case.call_and_validate(server.url, headers={"Accept": accept}, checks=CHECKS)
        if response.status_code < 400:
            answered.add(case.operation.label)


def _media_types(case: Case) -> set[str]:
    """What an operation may answer in: some take their choice."""
    responses = case.operation.definition.raw["responses"].values()
    return {media for response in responses for media in response.get("content", {})}


@sensible.parametrize()
def test_so_is_every_answer_to_a_stranger(case: Case, guarded: LiveServer) -> None:
    response = case.call_and_validate(guarded.url, checks=CHECKS)
    if case.operation.definition.raw.get("security"):
        assert response.status_code in (400, 401)


def test_sensible_requests_were_answered_in_every_vocabulary(answered: set[str]) -> None:
    for name in DIALECTS:
        routes = {
            one.ok().label for one in sensible.get_all_operations() if name in (one.ok().tags or ())
        }
        assert not routes or routes & answered, name


def test_the_server_had_nothing_to_complain_about(server: LiveServer) -> None:
    assert "ERROR" not in server.log
