"""The application as a whole: its documentation, and that every route is in it."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import pytest

from antiphon.api.app import create_app
from antiphon.api.settings import Settings, SettingsError
from tests.support.server import LiveServer

POSTS = [
    "/api/v1/runs",
    "/api/v1/runs/{run_id}/cancel",
    "/api/v1/runs/{run_id}/resume",
    "/api/v1/chat",
    "/api/streaming/multi-agent/stream",
    "/api/multi-agent/process",
]


async def test_the_openapi_document_lists_every_route(
    client: httpx.AsyncClient, live: LiveServer
) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    listed = {(path, method) for path, item in document["paths"].items() for method in item}
    for route in create_app(live.settings).routes:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", route.path)
        for method in getattr(route, "methods", set()) - {"OPTIONS"}:
            if not path.startswith(("/schema", "/ws/test")):
                assert (path, method.lower()) in listed


@pytest.mark.parametrize("path", POSTS)
async def test_every_post_takes_an_idempotency_key(client: httpx.AsyncClient, path: str) -> None:
    document = (await client.get("/schema/openapi.json")).json()
    names = [
        parameter["name"] for parameter in document["paths"][path]["post"].get("parameters", [])
    ]
    assert "Idempotency-Key" in names


async def test_the_documentations_page_needs_nothing_from_elsewhere(
    client: httpx.AsyncClient,
) -> None:
    page = (await client.get("/schema")).text
    resources = re.findall(r"""<(?:script|link|img)[^>]+(?:src|href)=["']([^"']+)""", page)
    assert len(resources) >= 3
    for resource in resources:
        if not resource.startswith("data:"):
            answer = await client.get(resource)
            assert (answer.status_code, resource[0]) == (200, "/")
            assert len(answer.content) > 1000


async def test_assets_are_files_of_their_folder_only(client: httpx.AsyncClient) -> None:
    for path in (
        "../../pyproject.toml",
        "%2e%2e/%2e%2e/pyproject.toml",
        "..%2fetc%2fpasswd",
        "/etc/passwd",
        "",
    ):
        answer = await client.get(f"/schema/assets/{path}")
        assert answer.status_code in (404, 405)


@pytest.mark.parametrize(
    "settings", [Settings(host="0.0.0.0"), Settings(auth="jwt", jwt_secret="short")]
)
def test_no_application_is_made_of_unsafe_settings(settings: Settings) -> None:
    with pytest.raises(SettingsError):
        create_app(settings)


def test_nothing_is_opened_before_the_application_starts(tmp_path: Path) -> None:
    create_app(Settings(database_url=f"sqlite:///{tmp_path / 'log.db'}"))
    assert not list(tmp_path.iterdir())
