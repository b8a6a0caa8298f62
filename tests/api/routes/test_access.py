"""Tickets, logins that end, revocation, and limits, over the wire."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from antiphon.data import open_database, transactions
from tests.api.wire import Socket, socket, sse
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import (
    LiveServer,
    Teller,
    bearer,
    jwt_settings,
    model_settings,
    running_server,
    token,
)

GRACE = 6.0
"""A login that ended closes its streams within five seconds."""


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[LiveServer]:
    limits: dict[str, Any] = {
        "frames_per_second": 20,
        "connections_per_user": 3,
        "runs_per_user": 2,
    }
    with running_server(
        tmp_path_factory.mktemp("strict"), **model_settings(teller), **jwt_settings(), **limits
    ) as server:
        yield server


@pytest.fixture
async def client(strict: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=strict.url, timeout=DEADLINE, trust_env=False) as opened:
        yield opened


async def closed(open_: Socket) -> int:
    """The code with which the server closes."""
    with suppress(ConnectionClosed):
        while True:
            await open_.connection.recv()
    return int(open_.connection.close_code or 0)


async def ticket(client: httpx.AsyncClient, user: str = "ada") -> str:
    response = await client.post("/auth/ws-ticket", headers=bearer(user))
    assert response.status_code == 201
    text: str = response.json()["ticket"]
    return text


async def test_a_ticket_opens_one_socket_in_its_holders_name(
    client: httpx.AsyncClient, strict: LiveServer
) -> None:
    url = f"{strict.ws}/ws/chat?ticket={await ticket(client)}"
    async with socket(url) as first:
        assert (await first.frame())["user"]["id"] == "ada"
    async with socket(url) as second:
        assert (await second.frame())["type"] == "auth_error"
    assert "ticket=[redacted]" in strict.log


async def test_tickets_need_a_login(client: httpx.AsyncClient) -> None:
    assert (await client.post("/auth/ws-ticket")).status_code == 401


@pytest.fixture
def held(teller: Teller) -> Iterator[tuple[str, threading.Event]]:
    """A question whose answer waits in the middle until the event is set."""
    gate = threading.Event()
    question = teller.answer(
        "What does the login test ask?",
        Reply(chunks=["One", " two", " three."], gate=gate, gate_at=1),
    )
    yield question, gate
    gate.set()


async def test_a_login_that_ends_closes_the_socket_and_the_run_goes_on(
    client: httpx.AsyncClient, strict: LiveServer, held: tuple[str, threading.Event]
) -> None:
    question, gate = held
    async with socket(f"{strict.ws}/api/v1/ws?token={token('eve', seconds=2)}") as short:
        await short.send(type="message", message=question)
        run_id = (await short.until("agent_chunk"))[-1]["run_id"]
        async with asyncio.timeout(2 + GRACE):
            assert await closed(short) == 4401
    gate.set()
    async with sse(client, "GET", f"/api/v1/runs/{run_id}/events", headers=bearer("eve")) as reader:
        assert (await reader.until("run_complete"))[-1].data["text"].startswith("One two three.")


async def test_a_login_that_ends_closes_the_event_stream(
    client: httpx.AsyncClient, held: tuple[str, threading.Event]
) -> None:
    question, _ = held
    body = {"message": question}
    headers = {"authorization": f"Bearer {token('eve', seconds=2)}", "accept": "text/event-stream"}
    async with sse(client, "POST", "/api/v1/runs", json=body, headers=headers) as reader:
        async with asyncio.timeout(2 + GRACE):
            rest = await reader.rest()
    assert "run_complete" not in [block.event for block in rest]


async def test_a_renewed_login_keeps_the_socket_open(strict: LiveServer) -> None:
    async with socket(f"{strict.ws}/ws/chat?token={token('dan', seconds=2)}") as short:
        assert (await short.frame())["type"] == "auth_success"
        assert (await short.ask(type="auth", token=token("dan")))["type"] == "auth_success"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(GRACE):
                await short.connection.recv()
        assert (await short.ask(type="ping"))["type"] == "pong"


async def test_a_socket_cannot_become_another_users(strict: LiveServer) -> None:
    async with socket(f"{strict.ws}/ws/chat?token={token('dan')}") as open_:
        await open_.frame()
        assert (await open_.ask(type="auth", token=token("eve")))["type"] == "auth_error"
        assert (await open_.ask(type="ping"))["type"] == "pong"


@pytest.mark.parametrize("kind", ["jti", "user"])
async def test_what_is_revoked_is_refused_and_closed(
    client: httpx.AsyncClient, strict: LiveServer, kind: str
) -> None:
    user = f"revoked-by-{kind}"
    bad = token(user, jti=f"{user}-1", iat=1)
    async with socket(f"{strict.ws}/ws/chat?token={bad}") as open_:
        await open_.frame()
        database = await open_database(str(strict.settings.database_url))
        await database.write(
            transactions.revoke, kind, f"{user}-1" if kind == "jti" else user, 1000
        )
        await database.close()
        async with asyncio.timeout(GRACE):
            assert await closed(open_) == 4401
    refused = await client.get("/api/v1/threads", headers={"authorization": f"Bearer {bad}"})
    assert refused.status_code == 401
    assert (
        await client.get("/api/v1/threads", headers=bearer(user, jti="new", iat=2_000_000))
    ).status_code == 200


async def test_a_flood_of_frames_is_closed_with_4429(strict: LiveServer) -> None:
    async with socket(f"{strict.ws}/ws/chat?token={token('flood')}") as open_:
        for _ in range(200):
            await open_.connection.send('{"type": "ping"}')
        assert await closed(open_) == 4429


async def test_a_user_may_have_so_many_streams_open(strict: LiveServer) -> None:
    url = f"{strict.ws}/ws/chat?token={token('many')}"
    async with socket(url) as a, socket(url) as b, socket(url) as c:
        for one in (a, b, c):
            assert (await one.frame())["type"] == "auth_success"
        async with socket(url) as d:
            assert await closed(d) == 4429


async def test_a_user_may_have_so_many_runs_under_way(
    client: httpx.AsyncClient, held: tuple[str, threading.Event]
) -> None:
    question, _ = held
    for _ in range(2):
        assert (
            await client.post("/api/v1/runs", json={"message": question}, headers=bearer("busy"))
        ).status_code == 202
    refused = await client.post("/api/v1/runs", json={"message": question}, headers=bearer("busy"))
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    assert refused.json()["code"] == "RATE_LIMITED"
