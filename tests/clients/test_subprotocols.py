"""A WebSocket as browsers open it: it fails if the server selects no offered subprotocol."""

from __future__ import annotations

import pytest

from tests.clients.support import needs_node, node
from tests.support.server import LiveServer, token


@needs_node
@pytest.mark.parametrize("others", [[], ["chat.v1"]])
async def test_a_browser_logs_in_by_a_subprotocol(guarded: LiveServer, others: list[str]) -> None:
    bearer = f"bearer.{token('ada')}"
    seen = await node("subprotocols.mjs", url=f"{guarded.ws}/ws/chat", protocols=[*others, bearer])
    assert seen["protocol"] == [*others, bearer][0]
    assert (seen["frame"]["type"], seen["frame"]["user"]["id"]) == ("auth_success", "ada")
    assert bearer not in guarded.log
