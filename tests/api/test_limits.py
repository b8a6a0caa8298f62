"""How much one client may ask for."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.limits import CALLERS, Bucket, ClientLimits
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings
from tests.api.wire import socket, sse
from tests.support.model_server import Reply
from tests.support.server import Teller, bearer, jwt_settings, model_settings, running_server, token


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, **given: Any) -> ClientLimits:
    return ClientLimits(Settings(**jwt_settings(), **given), clock)


@given(st.lists(st.floats(0, 5), max_size=200), st.integers(1, 20), st.integers(1, 20))
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(
    waits: list[float], rate: int, burst: int
) -> None:
    clock, given_out = Clock(), 0
    bucket = Bucket(rate, burst, 0.0)
    for wait in waits:
        clock.now += wait
        given_out += bucket.take(clock.now) == 0
        assert given_out <= burst + rate * clock.now + 1e-6


@given(st.integers(1, 20), st.integers(1, 20))
def test_whoever_waits_as_long_as_told_is_served(rate: int, burst: int) -> None:
    clock = Clock()
    bucket = Bucket(rate, burst, 0.0)
    for _ in range(50):
        clock.now += bucket.take(clock.now) + 1e-9
        if bucket.take(clock.now) > 0:
            clock.now += 1 / rate
            assert bucket.take(clock.now) == 0


def test_callers_do_not_share_a_bucket() -> None:
    found = limits(Clock(), requests_per_minute=6)
    found.request("user", "ada")
    with pytest.raises(Problem) as refused:
        found.request("user", "ada")
    assert (refused.value.code, refused.value.retry_after) == ("RATE_LIMITED", 11)
    found.request("user", "bob")
    found.request("address", "ada")


def test_only_so_many_callers_are_remembered() -> None:
    found = limits(Clock())
    for number in range(CALLERS + 10):
        found.request("user", f"{number}")
    assert len(found._buckets) == CALLERS


def test_with_auth_off_nobody_is_limited() -> None:
    found = ClientLimits(
        Settings(
            requests_per_minute=1, frames_per_second=1, connections_per_user=1, runs_per_user=1
        )
    )
    count = found.frames()
    for _ in range(1000):
        found.request("user", "local")
        count()
    found.runs(1000)
    with found.connection("local"):
        found.check_connections("local")


@pytest.mark.parametrize(
    "name",
    [
        "requests_per_minute",
        "frames_per_second",
        "connections_per_user",
        "runs_per_user",
        "anonymous_sockets",
    ],
)
def test_a_limit_of_0_does_not_exist(name: str) -> None:
    found = limits(Clock(), **{name: 0})
    count = found.frames()
    for _ in range(300 if name in ("requests_per_minute", "frames_per_second") else 1):
        if name == "requests_per_minute":
            found.request("user", "ada")
        if name == "frames_per_second":
            count()
    found.runs(10**6 if name == "runs_per_user" else 0)
    with found.anonymous(), found.connection("ada"):
        found.check_connections("ada" if name == "connections_per_user" else "bob")


def test_an_open_stream_counts_until_it_ends() -> None:
    found = limits(Clock(), connections_per_user=1)
    with found.connection("ada"):
        found.check_connections("bob")
        with pytest.raises(Problem):
            found.check_connections("ada")
    found.check_connections("ada")
    assert not found._connections


# ------------------------------------------------------------------------------------ over the wire


async def test_limits_hold_on_the_wire_in_every_vocabulary(tmp_path: Path, teller: Teller) -> None:
    """Streams, runs and frames of one user; another user is not concerned."""
    gate = threading.Event()
    question = teller.answer("held by the limits", Reply("so it is", gate=gate, gate_at=1))
    given: dict[str, Any] = {"connections_per_user": 2, "runs_per_user": 3, "frames_per_second": 5}
    with running_server(tmp_path, **model_settings(teller), **jwt_settings(), **given) as server:
        async with (
            AsyncExitStack() as open_,
            httpx.AsyncClient(base_url=server.url, trust_env=False) as client,
        ):
            streams = []
            for _ in range(2):
                stream = sse(
                    client,
                    "POST",
                    "/api/v1/runs",
                    json={"message": question},
                    headers=bearer("ada"),
                )
                streams.append(await open_.enter_async_context(stream))
                await streams[-1].block()
            await client.post("/api/v1/runs", json={"message": question}, headers=bearer("ada"))
            third = await client.get(
                f"/api/v1/runs/{streams[0].first['run_id']}/events", headers=bearer("ada")
            )
            assert (third.status_code, third.json()["code"]) == (429, "RATE_LIMITED")
            assert int(third.headers["retry-after"]) > 0
            fourth = await client.post(
                "/api/v1/chat", json={"message": question}, headers=bearer("ada")
            )
            assert (fourth.status_code, fourth.json()["code"], "error" in fourth.json()) == (
                429,
                "RATE_LIMITED",
                True,
            )
            async with socket(f"{server.ws}/ws/chat?token={token('ada')}") as refused:
                frames = [await refused.frame()]
                while frames[-1]["type"] != "error":
                    frames.append(await refused.frame())
                assert frames[-1]["code"] == "RATE_LIMITED"
                assert await refused.closed() == 4429
            assert (await client.get("/api/v1/threads", headers=bearer("bob"))).status_code == 200
            async with socket(f"{server.ws}/api/v1/ws?token={token('bob')}") as flood:
                await asyncio.gather(*(flood.send(type="ping") for _ in range(50)))
                assert await flood.closed() == 4429
        gate.set()


async def test_a_request_that_is_refused_leaves_no_run_behind(
    tmp_path: Path, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer("refused all the same", Reply("so it is", gate=gate, gate_at=1))
    with running_server(
        tmp_path, **model_settings(teller), **jwt_settings(), connections_per_user=1
    ) as server:
        async with httpx.AsyncClient(
            base_url=server.url, trust_env=False, headers=bearer()
        ) as client:
            async with sse(client, "POST", "/api/v1/runs", json={"message": question}) as stream:
                await stream.block()
                refused = await client.post(
                    "/api/v1/runs",
                    json={"message": question},
                    headers={"accept": "text/event-stream"},
                )
                threads = (await client.get("/api/v1/threads")).json()["threads"]
            gate.set()
    assert refused.status_code == 429
    assert len(threads) == 1


async def test_a_chat_with_too_many_runs_stays_open(tmp_path: Path, teller: Teller) -> None:
    gate = threading.Event()
    question = teller.answer("one run only", Reply("so it is", gate=gate, gate_at=1))
    with running_server(
        tmp_path, **model_settings(teller), **jwt_settings(), runs_per_user=1
    ) as server:
        async with socket(f"{server.ws}/ws/chat?token={token()}") as opened:
            await opened.frame()
            for session in "ab":
                await opened.send(type="message", message=question, session_id=session)
            assert (await opened.until("error"))[-1]["code"] == "RATE_LIMITED"
            gate.set()
            await opened.until("complete")
