"""Seed 003's own clients against a live server."""

from __future__ import annotations

import sys

import pytest

from tests.clients.support import HERE, HOSTILE, needs_node, node, run
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller, token

STEPS = ["starting", "agent_routing", "rag_retrieval", "generating"]


@pytest.fixture(params=["off", "jwt"])
def server(request: pytest.FixtureRequest, live: LiveServer, guarded: LiveServer) -> LiveServer:
    """A server without authentication, where any token will do, and one with it."""
    return live if request.param == "off" else guarded


@needs_node
@pytest.mark.parametrize("way", ["message", "query"])
async def test_the_javascript_class_shows_whole_answers(
    server: LiveServer, teller: Teller, way: str
) -> None:
    question = teller.answer("what is the engine power", Reply(HOSTILE, delay=0.002))
    mine = token("ada", email="ada@x", name="Ada")
    by_query = way == "query"
    seen = await node(
        "chat_websocket.mjs",
        url=f"{server.ws}/ws/chat" + (f"?token={mine}" if by_query else ""),
        token=None if by_query else mine,
        messages=[question, "and another one"],
        session="js-session",
    )
    assert seen["errors"] == []
    assert set(seen["user"]) == {"id", "email", "name"}
    assert seen["user"]["name"] == ("Ada" if server.settings.auth_on else "Local user")
    assert [answer["response"] for answer in seen["answers"]] == [
        HOSTILE,
        "You said: and another one",
    ]
    for answer in seen["answers"]:
        assert answer["text"] == answer["response"]
        assert all(answer["partials"])
        assert [step for step, _ in answer["steps"]] == STEPS
        assert all(message for _, message in answer["steps"])
        assert answer["agent"] == "specs"
        assert isinstance(answer["confidence"], int | float)


@needs_node
async def test_the_javascript_class_is_told_about_errors_and_goes_on(
    server: LiveServer, teller: Teller
) -> None:
    broken = teller.answer("this one breaks", Reply(status=400))
    seen = await node(
        "chat_websocket.mjs",
        url=f"{server.ws}/ws/chat",
        token=token(),
        messages=["first", "", broken, "last"],
    )
    assert [code for _, code in seen["errors"]] == ["EMPTY_MESSAGE", "PROCESSING_ERROR"]
    assert [answer["response"] for answer in seen["answers"]] == [
        "You said: first",
        "You said: last",
    ]


@needs_node
async def test_the_javascript_class_is_told_that_its_token_is_bad(guarded: LiveServer) -> None:
    seen = await node(
        "chat_websocket.mjs", url=f"{guarded.ws}/ws/chat", token="bad", messages=[], attempts=3
    )
    assert seen["errors"] == [["Invalid token", None]] * 3
    assert seen["answers"] == []


@needs_node
async def test_without_authentication_no_login_is_needed(live: LiveServer) -> None:
    seen = await node(
        "chat_websocket.mjs", url=f"{live.ws}/ws/chat", token=None, messages=["hi"], anonymous=True
    )
    assert [answer["response"] for answer in seen["answers"]] == ["You said: hi"]


async def test_the_python_script_prints_the_whole_answer(
    server: LiveServer, teller: Teller
) -> None:
    question = teller.answer(
        "what is the engine power, in Python", Reply("81 kW, or\n110 hp 🙂", delay=0.002)
    )
    script = str(HERE / "chat_script.py")
    told = await run(sys.executable, script, f"{server.ws}/ws/chat", token(), question)
    assert told.startswith("Authenticated!\n[starting] ")
    assert "Response: 81 kW, or\n110 hp 🙂\n" in told
    assert told.endswith("Agent: specs\nEqual: True\n")


async def test_the_python_script_says_that_its_token_is_bad(guarded: LiveServer) -> None:
    told = await run(
        sys.executable, str(HERE / "chat_script.py"), f"{guarded.ws}/ws/chat", "bad", "hi"
    )
    assert told == "Authentication failed\n"
