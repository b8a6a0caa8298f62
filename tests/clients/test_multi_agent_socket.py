"""Seed 002's WebSocket client, which reconnects under the same connection id."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tests.api.order import check_multi_agent
from tests.api.wire import socket
from tests.clients.support import HOSTILE, cuts_within, needs_node, node
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, token


@pytest.fixture(params=["off", "jwt"])
def server(request: pytest.FixtureRequest, live: LiveServer, guarded: LiveServer) -> LiveServer:
    """A server without authentication, where any token will do, and one with it."""
    return live if request.param == "off" else guarded


@needs_node
@pytest.mark.parametrize("cuts", [[], [1], [3, 9], [2, 4, 6, 8, 10]])
async def test_a_client_that_reconnects_misses_nothing_and_sees_nothing_twice(
    server: LiveServer, teller: Teller, cuts: list[int]
) -> None:
    question = teller.answer(f"reconnecting {cuts}", Reply(HOSTILE, delay=0.005))
    connection = str(uuid4())
    request = {"query": question, "primary_agent": "specs"}
    seen = await node(
        "multi_agent_socket.mjs",
        url=server.ws,
        connection=connection,
        token=token(),
        request=request,
        cuts=cuts,
    )
    frames = [json.loads(frame) for frame in seen["frames"]]
    reconnected = cuts_within(cuts, len(frames) - 1)
    assert (seen["connections"], seen["reconnectAttempts"]) == (reconnected + 1, reconnected)
    assert bool(reconnected) is bool(cuts)
    assert seen["pongs"] >= 1
    check_multi_agent(frames)
    assert seen["response"] == HOSTILE
    async with socket(f"{server.ws}/api/streaming/ws/{uuid4()}?token={token()}") as opened:
        await opened.frame()
        await opened.send(type="resume", run_id=frames[0]["run_id"], last_seq=0)
        assert await opened.texts_until("complete") == seen["frames"]
