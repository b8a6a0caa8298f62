"""The OpenAPI document says what is sent, out of the registry, for whatever route and dialect there
is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import jsonschema
import pytest
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import tag
from antiphon.api.problems import CODES, Problem
from tests.api.dialects.samples import AT, plain
from tests.support.server import LiveServer

JSON, SSE = "application/json", "text/event-stream"
Operation = tuple[str, dict[str, Any]]


@pytest.fixture(scope="module")
def document(live: LiveServer) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{live.url}/schema/openapi.json", trust_env=False).json()
    return found


@pytest.fixture(scope="module")
def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        (f"{method} {path}", one)
        for path, item in document["paths"].items()
        for method, one in item.items()
    ]


def contents(operations: list[Operation], media: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """`(route, status, schema)` of all responses of a media type."""
    for route, operation in operations:
        for status, response in operation["responses"].items():
            if media in response.get("content", {}):
                yield route, status, response["content"][media]["schema"]


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    OPENAPI_31_VALIDATOR.validate(document)


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    names = set(document["components"]["schemas"])
    for part in json.dumps(document).split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in names


@pytest.mark.parametrize("name", DIALECTS)
def test_every_frame_is_a_component(document: dict[str, Any], name: str) -> None:
    for frame in (*DIALECTS[name].sends, *DIALECTS[name].asks):
        schema = document["components"]["schemas"][frame.__name__]
        assert schema["description"], "say in its docstring what the frame is for"
        if tag(frame) is not None:
            assert schema["properties"]["type"] == {"enum": [tag(frame)]}


def test_every_answer_has_a_schema(operations: list[Operation]) -> None:
    empty = [(route, status) for route, status, schema in contents(operations, JSON) if not schema]
    assert not empty, (
        "say what these answer: a typed return, or `responses=`; for a stream `media_type=`"
    )


def test_streams_are_told_event_by_event(operations: list[Operation]) -> None:
    told = list(contents(operations, SSE))
    assert told
    tags = {route: operation["tags"][0] for route, operation in operations if "tags" in operation}
    for route, _, schema in told:
        frames = DIALECTS[tags[route]].frames
        data = schema["properties"]["data"]["contentSchema"]
        assert [one["$ref"].rpartition("/")[2] for one in data["oneOf"]] == [
            frame.__name__ for frame in frames
        ]
        assert list(data["discriminator"]["mapping"]) == [tag(frame) for frame in frames]
        if "event" in schema["properties"]:
            assert schema["properties"]["event"]["enum"] == [tag(frame) for frame in frames]


def test_streams_with_event_names_are_told_from_those_without(operations: list[Operation]) -> None:
    told = {
        route: "event" in schema["properties"] for route, _, schema in contents(operations, SSE)
    }
    assert told["post /api/v1/runs"]
    assert told["post /api/streaming/multi-agent/stream"]


@pytest.mark.parametrize("code", CODES)
def test_errors_are_told_as_they_are_sent(
    document: dict[str, Any], operations: list[Operation], code: str
) -> None:
    problem = Problem(code, "A clean sentence.")
    for _, operation in operations:
        dialect = DIALECTS[operation.get("tags", ["native"])[0]]
        response = operation["responses"].get(str(problem.status))
        if response is not None and response["description"].startswith("`"):
            schema = response["content"][JSON]["schema"] | {"components": document["components"]}
            jsonschema.validate(plain(dialect.problem(problem, AT)), schema)
            assert f"`{code}`" in response["description"]


def test_refusals_follow_from_what_a_route_takes(operations: list[Operation]) -> None:
    by_route = {route: set(operation["responses"]) for route, operation in operations}
    assert by_route["get /health"] == {"200", "403", "429", "500", "503"}
    assert by_route["get /api/v1/runs/{run_id}"] == {
        "200",
        "401",
        "403",
        "404",
        "429",
        "500",
        "503",
    }
    assert {"200", "202", "400", "401", "404", "409", "413", "422"} <= by_route["post /api/v1/runs"]
    assert {"204", "410"} <= by_route["get /api/v1/runs/{run_id}/events"]
