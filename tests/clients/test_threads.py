"""Seed 001's own clients against a live server: the plain one, and the React hook."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.clients.support import HOSTILE, cuts_within, needs_node, node
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, bearer, token

pytestmark = needs_node
CUTS = [1, 2, 5, 9, 14, 20, 21, 22]


async def thread(server: LiveServer) -> str:
    """A new conversation of `ada`, who is everybody where authentication is off."""
    async with httpx.AsyncClient(base_url=server.url, headers=bearer(), trust_env=False) as client:
        created = await client.post("/chat/threads", json={"title": "Chat Title"})
        found: str = created.json()["thread"]["id"]
        return found


def hostile(teller: Teller, name: str) -> str:
    return teller.answer(f"threads {name}", Reply(HOSTILE, delay=0.002))


async def plain(server: LiveServer, content: str, **network: Any) -> dict[str, Any]:
    return await node(
        "threads_plain.mjs",
        url=server.url,
        token=token(),
        thread=await thread(server),
        content=content,
        **network,
    )


async def hook(server: LiveServer, *contents: str, **network: Any) -> dict[str, Any]:
    return await node(
        "threads_hook.mjs",
        url=server.url,
        thread=await thread(server),
        contents=contents,
        **network,
    )


def check_plain(seen: dict[str, Any], text: str) -> None:
    assert seen["appended"] == seen["message"] == text
    assert seen["types"][:2] == ["connected", "message_saved"]
    assert (seen["types"][-1], seen["finished"]) == ("done", 1)
    assert (seen["errors"], seen["unparsed"]) == ([], [])


@pytest.fixture(params=["off", "jwt"])
def server(request: pytest.FixtureRequest, live: LiveServer, guarded: LiveServer) -> LiveServer:
    """A server without authentication, where any token will do, and one with it."""
    return live if request.param == "off" else guarded


@pytest.mark.parametrize(
    "network", [{}, {"pieces": "events"}, {"pieces": "whole"}], ids=["live", "events", "whole"]
)
async def test_the_plain_client_shows_the_answer(
    server: LiveServer, teller: Teller, network: dict[str, Any]
) -> None:
    """It keeps nothing from one read to the next:

    events must arrive whole, as the server sends them.
    """
    check_plain(await plain(server, hostile(teller, f"plain {network}"), **network), HOSTILE)


async def test_the_plain_client_shows_the_answer_over_a_network_that_breaks(
    live: LiveServer, teller: Teller
) -> None:
    seen = await plain(live, hostile(teller, "plain, cut"), cuts=CUTS)
    check_plain(seen, HOSTILE)
    assert seen["connections"] == 1 + cuts_within(CUTS, seen["events"]) > 1
    assert seen["types"].count("connected") == seen["types"].count("message_saved") == 1


async def test_the_plain_client_is_told_of_an_error(live: LiveServer, teller: Teller) -> None:
    seen = await plain(live, teller.answer("threads: plain error", Reply(status=400)))
    assert (len(seen["errors"]), seen["finished"], seen["message"]) == (1, 1, None)


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"pieces": "events"},
        {"pieces": "whole"},
        {"pieces": 1},
        {"pieces": 7},
        {"cuts": CUTS, "pieces": 1},
    ],
    ids=["live", "events", "whole", "bytes", "sevens", "cut"],
)
async def test_the_hook_shows_the_answer(
    live: LiveServer, teller: Teller, network: dict[str, Any]
) -> None:
    seen = await hook(live, hostile(teller, f"hook {network}"), **network)
    assert (seen["messages"], seen["streaming"], seen["unparsed"]) == ([HOSTILE], [False], [])
    cuts = network.get("cuts", [])
    assert seen["connections"] == 1 + cuts_within(cuts, seen.get("events", 0)) > bool(cuts)


@pytest.mark.parametrize(
    "network", [{}, {"pieces": 1}, {"pieces": "whole"}], ids=["live", "bytes", "whole"]
)
async def test_the_hook_asks_and_answers(asking: LiveServer, network: dict[str, Any]) -> None:
    seen = await hook(asking, "ask me", "Merula", "and on", **network)
    assert seen["messages"] == ["Which car?", "So it is: Merula ", "So it is: and on "]
