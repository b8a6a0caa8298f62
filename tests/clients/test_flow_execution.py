"""Seed 000's client, as its document describes it, against a live server."""

from __future__ import annotations

import random
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.api.flows import approving, line, node, prompting, published
from tests.chaos.proxy import Proxy
from tests.clients.support import HOSTILE, cuts_within, needs_node
from tests.clients.support import node as run_client
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, bearer, token

pytestmark = needs_node


@pytest.fixture(params=["off", "jwt"])
def server(request: pytest.FixtureRequest, live: LiveServer, guarded: LiveServer) -> LiveServer:
    """A server without authentication, where a bare `user_id` says who asks, and one with it."""
    return live if request.param == "off" else guarded


async def agent(server: LiveServer, definition: Any) -> str:
    """A published flow of somebody else's."""
    async with httpx.AsyncClient(
        base_url=server.url, headers=bearer("author"), trust_env=False
    ) as client:
        return await published(client, definition)


async def client(
    server: LiveServer, agent_id: str, *messages: str, **options: Any
) -> dict[str, Any]:
    """What a client has seen that logs in where it has to, by its first frame unless told
    otherwise.
    """
    login = {"user": "user-123"} | ({"token": token()} if server.settings.auth_on else {})
    task = {"url": server.ws, "agent": agent_id, "messages": messages, **login, **options}
    return await run_client("flow_execution.mjs", **task)


def check(seen: dict[str, Any], *texts: str) -> None:
    """Every answer is exact in all three ways in which the document's clients read it."""
    assert (seen["errors"], seen["unknown"], seen["typing"], seen["times"]) == (
        [],
        0,
        False,
        ["number"],
    )
    assert [one["text"] for one in seen["answers"]] == [*texts]
    for answer in seen["answers"]:
        assert answer["text"] == answer["output"] == answer["final"]


async def test_the_client_shows_whole_answers(server: LiveServer, teller: Teller) -> None:
    question = teller.answer("flow client", Reply(HOSTILE, delay=0.002))
    seen = await client(
        server, await agent(server, prompting("Be brief.")), question, "and another one"
    )
    check(seen, HOSTILE, "You said: and another one")
    first = seen["answers"][0]
    assert first["started"] == [
        ["in", "input", "in"],
        ["think", "agent", "think"],
        ["out", "output", "out"],
    ]
    assert first["completed"] == first["order"] == ["in", "think", "out"]
    assert first["outputs"]["think"] == {"output": HOSTILE}
    assert seen["statuses"]


async def test_the_client_may_log_in_by_its_address(guarded: LiveServer) -> None:
    agent_id = await agent(guarded, prompting("Be brief."))
    check(
        await client(guarded, agent_id, "hi", token=None, query=f"?token={token()}"), "You said: hi"
    )


async def test_a_template_is_as_exact_as_a_model(server: LiveServer) -> None:
    hostile = "{{ message }} \u2028\u2029\x85\r\n\r🙂 data: x\n\n"
    agent_id = await agent(server, line(node("say", "template", template=hostile)))
    check(await client(server, agent_id, "🙂"), hostile.replace("{{ message }}", "🙂"))


@pytest.mark.parametrize("cuts", [[1], [2, 3, 4, 5, 6, 7, 8, 9, 10], [4, 9, 14, 19]])
async def test_a_client_that_is_cut_off_goes_on_where_it_was(
    server: LiveServer, teller: Teller, cuts: list[int]
) -> None:
    question = teller.answer(f"flow client, cut {cuts}", Reply(HOSTILE, delay=0.004))
    seen = await client(server, await agent(server, prompting("Be brief.")), question, cuts=cuts)
    check(seen, HOSTILE)
    assert seen["connections"] == 1 + cuts_within(cuts, seen["frames"] - 1) > 1, (
        "none comes after the last frame"
    )


async def test_bytes_may_arrive_one_by_one(live: LiveServer, teller: Teller) -> None:
    question = teller.answer("flow client, bytes", Reply(HOSTILE, delay=0.001))
    agent_id = await agent(live, prompting("Be brief."))
    async with Proxy(lambda: live.port, OneByOne(), enough=lambda: True) as proxy:
        check(await client(live, agent_id, question, url=f"ws://127.0.0.1:{proxy.port}"), HOSTILE)


class OneByOne(random.Random):
    """Every connection of the proxy goes in pieces of one byte."""

    def random(self) -> float:
        return 0.0

    def randrange(self, *args: Any, **options: Any) -> int:
        return 599


async def test_a_question_and_its_answer_are_ordinary_messages(server: LiveServer) -> None:
    agent_id = await agent(server, approving())
    seen = await client(server, agent_id, "it", "yes", "them", "no", session=str(uuid4()))
    check(seen, "Send it?", "You said yes.", "Send them?", "You said no.")


async def test_a_client_is_told_about_errors_and_goes_on(
    server: LiveServer, teller: Teller
) -> None:
    broken = teller.answer("flow client: this one breaks", Reply(status=400))
    seen = await client(server, await agent(server, prompting("Be brief.")), "", broken, "last")
    assert [code for _, code in seen["errors"]] == ["EMPTY_MESSAGE", "EXECUTION_ERROR"]
    said = f"{broken}\n\nlast"  # a model is sent two messages in a row as one
    assert [answer["output"] for answer in seen["answers"]] == [f"You said: {said}"]


async def test_a_client_is_told_that_its_agent_is_not_there(server: LiveServer) -> None:
    await agent(server, approving())
    seen = await client(server, "nobody", "hi")
    assert [code for _, code in seen["errors"]] == ["AGENT_NOT_FOUND"]
    assert seen["code"] in (4404, 1005, 1000)


async def test_a_client_is_told_that_its_token_is_bad(guarded: LiveServer) -> None:
    seen = await client(guarded, "any", "one", "two", "three", token="bad")
    assert [code for _, code in seen["errors"]] == ["AUTH_INVALID"] * 3
    assert seen["answers"] == []
