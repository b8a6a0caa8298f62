"""`GET /health` and `GET /metrics`."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path

import httpx
import pytest

from antiphon.data import writer
from tests.api.wire import sse_all
from tests.support.deadline import DEADLINE
from tests.support.server import API_KEY, SECRET, LiveServer, bearer, running_server, wait_until


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
        number(after, "antiphon_first_token_seconds_count")
        == number(before, "antiphon_first_token_seconds_count") + 1
    )


# -- a store that has failed -----------------------------------------------------------------------


async def test_a_server_whose_writer_is_gone_says_so_and_refuses_messages(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        thread = server.server._application.state.services.engine.database._writer._thread
        end, ident = ctypes.py_object(SystemExit), ctypes.c_ulong(thread.ident)

        def ended() -> (
            bool
        ):  # asked again and again: an exception within a transaction fails only that transaction
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, end)
            return not thread.is_alive()

        wait_until(ended, "the thread lives")
        async with httpx.AsyncClient(
            base_url=server.url, timeout=DEADLINE, trust_env=False
        ) as client:
            health = await client.get("/health")
            head = await client.head("/health")
            refused = await client.post("/api/v1/runs", json={"message": "hello"})
        assert (head.status_code, head.content) == (503, b"")
        assert (health.status_code, health.json()["status"], health.json()["reason"]) == (
            503,
            "failed",
            "WRITER_GONE",
        )
        assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
        assert "the writer ended" in server.log


async def test_a_writer_that_hangs_fails_the_health_until_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "STUCK_SECONDS", 0.3)
    entered, gate = threading.Event(), threading.Event()
    with running_server(tmp_path) as server:
        database = server.server._application.state.services.engine.database
        database._writer._beat = lambda tx: entered.set() or gate.wait(20)
        database._writer._next_beat = 0.0
        assert entered.wait(20)
        async with httpx.AsyncClient(
            base_url=server.url, timeout=DEADLINE, trust_env=False
        ) as client:
            while (health := await client.get("/health")).status_code == 200:
                pass
            refused = await client.post("/api/v1/runs", json={"message": "hello"})
            gate.set()
            while (await client.get("/health")).status_code == 503:
                pass
        assert health.json()["reason"] == "WRITER_STUCK"
        assert refused.json()["code"] == "UNAVAILABLE"


async def test_head_answers_without_a_body(client: httpx.AsyncClient) -> None:
    health, head = await client.get("/health"), await client.head("/health")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == health.headers["content-length"]
