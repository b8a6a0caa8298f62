"""`GET /health` and `GET /metrics`."""

from __future__ import annotations

import httpx

from tests.api.wire import sse_all
from tests.support.server import API_KEY, SECRET, LiveServer, bearer


async def test_health_says_what_is_served(client: httpx.AsyncClient) -> None:
    health = (await client.get("/health")).json()
    assert (health["status"], health["graphs"], health["auth"]) == ("ok", ["team"], "off")
    assert health["database"]["synchronous"] == "full"


async def test_health_needs_no_login_and_tells_no_secret(guarded: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        health = await client.get("/health")
        assert (health.status_code, health.json()["auth"]) == (200, "jwt")
        assert (await client.get("/metrics")).status_code == 401
        metrics = await client.get("/metrics", headers=bearer())
    for text in (health.text, metrics.text):
        assert SECRET not in text
        assert API_KEY not in text
        assert str(guarded.settings.database_url).removeprefix("sqlite:///") not in text


async def test_metrics_count_what_happens(client: httpx.AsyncClient) -> None:
    def number(text: str, name: str) -> float:
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    before = (await client.get("/metrics")).text
    await sse_all(client, "POST", "/api/v1/runs", json={"message": "count me"})
    after = (await client.get("/metrics")).text
    for name in ("antiphon_runs_started_total", 'antiphon_runs_ended_total{status="completed"}'):
        assert number(after, name) == number(before, name) + 1
    assert (
        number(after, "antiphon_first_token_seconds_count") == number(before, "antiphon_first_token_seconds_count") + 1
    )
