"""The numbers that an operator watches."""

from __future__ import annotations

import httpx

from tests.api.wire import sse_all
from tests.support.server import LiveServer


async def value(client: httpx.AsyncClient, name: str) -> float:
    lines = (await client.get("/metrics")).text.splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


async def test_a_run_is_counted_with_its_tokens_and_its_first_token(
    client: httpx.AsyncClient,
) -> None:
    before = [
        await value(client, name)
        for name in ("antiphon_runs_ended_total", "antiphon_first_token_seconds_count")
    ]
    await sse_all(
        client, "POST", "/api/streaming/multi-agent/stream", json={"query": "How wide is it?"}
    )
    after = [
        await value(client, name)
        for name in ("antiphon_runs_ended_total", "antiphon_first_token_seconds_count")
    ]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1]
    assert await value(client, "antiphon_output_tokens_total") > 0


async def test_metrics_need_a_login_where_everything_does(guarded: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        assert (await client.get("/metrics")).status_code == 401
