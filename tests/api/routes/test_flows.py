"""Seed 000's socket and the flows behind it, over real HTTP and WebSockets."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from antiphon.orchestrator.flows.language.text import SIZE
from tests.api.flows import (
    FLOWS,
    approving,
    edge,
    line,
    node,
    prompting,
    published,
    saved,
    saying,
    steps,
)
from tests.api.order import check_flows
from tests.api.test_bad_input import BODIES
from tests.api.wire import Socket, socket, sse_all
from tests.support.model_server import Reply
from tests.support.server import (
    LiveServer,
    ProcessServer,
    Teller,
    bearer,
    model_environment,
    model_settings,
    running_server,
    server_process,
    token,
)

ENDS = ("flow_completed", "flow_error")


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[LiveServer]:
    """A server without authentication, which has a flow."""
    with running_server(tmp_path_factory.mktemp("house"), **model_settings(teller)) as server:
        httpx.post(
            f"{server.url}{FLOWS}",
            json=saying("hello"),
            params={"agent_id": "hello"},
            trust_env=False,
        )
        yield server


@pytest.fixture
async def owner(house: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as opened:
        yield opened


@pytest.fixture
async def ada(guarded: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=guarded.url, headers=bearer("ada"), trust_env=False
    ) as opened:
        yield opened


@pytest.fixture
async def bob(guarded: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        base_url=guarded.url, headers=bearer("bob"), trust_env=False
    ) as opened:
        yield opened


def path(agent_id: str, query: str = "") -> str:
    return f"/api/chat/execute/{agent_id}{query}"


async def told(opened: Socket, message: Any, **frame: Any) -> list[dict[str, Any]]:
    """The frames of a turn, without the welcome."""
    await opened.send(message=message, **frame)
    frames = await opened.until(*ENDS)
    return [one for one in frames if "run_id" in one or one["type"] == "flow_error"]


def text(frames: list[dict[str, Any]]) -> str:
    """What a turn says in the end, which is also what its chunks add up to."""
    check_flows(frames)
    assert frames[-1]["type"] == "flow_completed", frames[-1]
    found: str = frames[-1]["data"]["final_output"]["text_output"]
    return found


async def said(
    server: LiveServer | ProcessServer, agent_id: str, message: str, **frame: Any
) -> str:
    """What an agent answers on a connection of its own."""
    async with socket(server.ws + path(agent_id)) as opened:
        return text(await told(opened, message, **frame))


# -- routes ----------------------------------------------------------------------------------------


async def test_a_flow_is_created_listed_read_changed_and_deleted(owner: httpx.AsyncClient) -> None:
    definition = saying("one") | {"viewport": {"zoom": 1.5}, "description": "Ä\u2028🙂"}
    created = await owner.post(FLOWS, json=definition)
    assert created.status_code == 201
    flow = created.json()
    assert set(flow) == {"agent_id", "draft", "published", "created_at", "updated_at"}
    assert (flow["draft"], flow["published"]) == (1, None)
    place = f"{FLOWS}/{flow['agent_id']}"
    assert (await owner.get(place)).json() == definition
    changed = await owner.put(place, json=saying("two"))
    assert (changed.status_code, changed.json()["draft"]) == (200, 2)
    assert (await owner.get(place)).json() == saying("two")
    assert flow["agent_id"] == (await owner.get(FLOWS)).json()["flows"][0]["agent_id"]
    deleted = await owner.delete(place)
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert (await owner.get(place)).json()["code"] == "NOT_FOUND"
    assert flow["agent_id"] not in (await owner.get(FLOWS)).text


async def test_a_flow_is_published_and_withdrawn_while_its_draft_goes_on(
    owner: httpx.AsyncClient,
) -> None:
    place = f"{FLOWS}/{await saved(owner, saying('one'))}"
    assert (await owner.get(place, params={"published": True})).status_code == 404
    assert (await owner.post(f"{place}/publish")).json()["published"] == 1
    await owner.put(place, json=saying("two"))
    assert (await owner.get(place, params={"published": True})).json() == saying("one")
    assert (await owner.get(place)).json() == saying("two")
    withdrawn = (await owner.delete(f"{place}/publish")).json()
    assert (withdrawn["draft"], withdrawn["published"]) == (2, None)


@pytest.mark.parametrize("form", ["json", "yaml"])
async def test_what_is_read_is_taken_back_identical(owner: httpx.AsyncClient, form: str) -> None:
    definition = saying("no\n\n  yes: [12:30]\u2028\u0085\r🙂 ") | {
        "on": "off",
        "numbers": [1, 1.5, -0.0, 1e300, None],
    }
    response = await owner.get(f"{FLOWS}/{await saved(owner, definition)}", params={"format": form})
    assert response.headers["content-type"].startswith(f"application/{form}")
    again = await owner.post(FLOWS, content=response.content)
    assert (await owner.get(f"{FLOWS}/{again.json()['agent_id']}")).json() == definition


async def test_the_built_in_team_can_be_copied(owner: httpx.AsyncClient) -> None:
    team = await owner.get(f"{FLOWS}/team", params={"format": "yaml"})
    assert (await owner.post(f"{FLOWS}/check", content=team.content)).json() == {"valid": True}
    assert (await owner.post(FLOWS, content=team.content)).status_code == 201


async def test_a_format_that_is_none_is_refused(owner: httpx.AsyncClient) -> None:
    assert (await owner.get(f"{FLOWS}/team", params={"format": "xml"})).json()[
        "code"
    ] == "BAD_REQUEST"


async def test_checking_stores_nothing(owner: httpx.AsyncClient) -> None:
    before = (await owner.get(FLOWS)).json()
    assert (await owner.post(f"{FLOWS}/check", json=saying("x"))).json() == {"valid": True}
    assert (await owner.get(FLOWS)).json() == before


BAD = {
    "json syntax": ('{\n  "nodes": [}', "BAD_TEXT", 2, 13),
    "yaml syntax": ("nodes:\n  - id: [\n", "BAD_TEXT", 3, 1),
    "alias": ("nodes: &x []\nedges: *x", "BAD_TEXT", 1, 8),
    "json": ('{"nodes": [\n  {"id": "in", "type": "bogus"}\n]}', "UNKNOWN_TYPE", 2, 24),
    "yaml": ("nodes:\n  - id: in\n    type: bogus\n", "UNKNOWN_TYPE", 3, 11),
    "not utf-8": (b"nodes:\n\xff", "BAD_TEXT", 2, 1),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("way", ["POST /check", "POST ", "PUT /hello"])
async def test_a_flow_that_cannot_be_executed_is_refused_with_the_places_of_its_errors(
    owner: httpx.AsyncClient, way: str, kind: str
) -> None:
    body, code, row, column = BAD[kind]
    method, _, rest = way.partition(" ")
    refused = await owner.request(method, FLOWS + rest, content=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "FLOW_INVALID")
    first = refused.json()["errors"][0]
    assert (first["code"], first["line"], first["column"]) == (code, row, column)
    assert first["message"]
    assert (await owner.get(f"{FLOWS}/hello")).json() == saying("hello")


async def test_all_errors_are_told_at_once_with_their_nodes_and_places_inside_of_expressions(
    owner: httpx.AsyncClient,
) -> None:
    bad = line(
        node("say", "template", template="Hi {{ message + }}"),
        node("tool", "tool", tool="calculate"),
    )
    errors = (await owner.post(FLOWS, json=bad)).json()["errors"]
    assert {(one["code"], one["node"], one["path"]) for one in errors} == {
        ("BAD_EXPRESSION", "say", "/nodes/1/config/template"),
        ("MISSING_INPUT", "tool", "/nodes/2/config/arguments"),
    }
    assert all("line" in one for one in errors)
    assert [one["within"] for one in errors if "within" in one]


@pytest.mark.parametrize("body", ["", " \n", "null", "42", "[]", '"text"', "nodes: []", "{}"])
async def test_what_is_no_flow_is_refused(owner: httpx.AsyncClient, body: str) -> None:
    refused = await owner.post(FLOWS, content=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "FLOW_INVALID")
    assert refused.json()["errors"]


@pytest.mark.parametrize("kind", [*BODIES, "tag", "surrogate", "version", "key", "deep", "quote"])
async def test_hostile_definitions_are_refused_and_nothing_breaks(
    owner: httpx.AsyncClient, house: LiveServer, kind: str
) -> None:
    yaml = {
        "tag": b"!!python/object/apply:os.getcwd []",
        "surrogate": b'name: "\\ud800"',
        "version": b"%YAML 9.9\n---\na: 1",
        "key": b"? [a]\n: b",
        "deep": b"- " * 5000,
        "quote": b'"' + b"\\" * 999,
    }
    refused = await owner.post(FLOWS, content=yaml[kind] if kind in yaml else BODIES[kind][0])
    assert (refused.status_code, refused.json()["code"]) in (
        (422, "FLOW_INVALID"),
        (413, "TOO_LARGE"),
    )
    assert "Traceback" not in house.log


async def test_too_much_is_refused(owner: httpx.AsyncClient, house: LiveServer) -> None:
    refused = await owner.post(FLOWS, json=saying("x" * SIZE))
    assert (refused.status_code, refused.json()["errors"][0]["code"]) == (422, "TOO_LARGE")
    refused = await owner.post(FLOWS, content="x" * (house.settings.body_bytes + 1))
    assert (refused.status_code, refused.json()["code"]) == (413, "TOO_LARGE")


@pytest.mark.parametrize("agent_id", ["team", "check", "a b", "a/b", "ä", "x" * 129])
async def test_an_id_that_is_taken_or_impossible_is_refused(
    owner: httpx.AsyncClient, agent_id: str
) -> None:
    refused = await owner.post(FLOWS, json=saying("x"), params={"agent_id": agent_id})
    assert (refused.status_code, refused.json()["code"]) == (400, "BAD_REQUEST")


async def test_a_repeated_key_creates_one_flow(
    ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    key = {"idempotency-key": str(uuid4())}
    once, again = [(await ada.post(FLOWS, json=saying("once"), headers=key)).json() for _ in "12"]
    assert once == again
    assert (await bob.post(FLOWS, json=saying("once"), headers=key)).json()["agent_id"] != once[
        "agent_id"
    ]
    other = await ada.post(FLOWS, json=saying("another"), headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "IDEMPOTENCY_CONFLICT")
    assert (await ada.post(FLOWS, json={}, headers=key)).json()["code"] == "FLOW_INVALID"


async def test_a_flow_is_its_owners_alone(ada: httpx.AsyncClient, bob: httpx.AsyncClient) -> None:
    place = f"{FLOWS}/{await published(ada, saying('mine'))}"
    before = (await ada.get(FLOWS)).json()
    assert place.rpartition("/")[2] not in (await bob.get(FLOWS)).text
    for method, way, body in [
        ("GET", place, None),
        ("GET", f"{place}?published=true", None),
        ("PUT", place, saying("theirs")),
        ("POST", f"{FLOWS}?agent_id={place.rpartition('/')[2]}", saying("theirs")),
        ("POST", f"{place}/publish", None),
        ("DELETE", f"{place}/publish", None),
        ("DELETE", place, None),
    ]:
        response = await bob.request(method, way, json=body)
        assert (response.status_code, response.json()["code"]) == (404, "NOT_FOUND"), (method, way)
    assert (await ada.get(FLOWS)).json() == before


async def test_nothing_is_told_without_a_login(guarded: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as anybody:
        for method, way in (
            ("GET", ""),
            ("POST", ""),
            ("POST", "/check"),
            ("GET", "/team"),
            ("DELETE", "/x"),
        ):
            response = await anybody.request(method, FLOWS + way)
            assert (response.status_code, response.json()["code"]) == (401, "AUTH_REQUIRED")


# -- logins ----------------------------------------------------------------------------------------


async def test_the_first_frame_may_log_in(guarded: LiveServer, ada: httpx.AsyncClient) -> None:
    mine = await saved(ada, saying("It is {{ message }}."))
    async with socket(guarded.ws + path(mine)) as opened:
        await opened.send(message="me", token=token("ada"))
        welcome, *frames = await opened.until(*ENDS)
        assert (welcome["type"], welcome["data"]["state"]) == ("status", "authenticated")
        assert text(frames) == "It is me."
        assert text(await told(opened, "me again", token=token("ada"))) == "It is me again."
        assert text(await told(opened, "still me")) == "It is still me."


@pytest.mark.parametrize("way", ["query", "header", "subprotocol", "frame"])
async def test_there_are_other_ways_to_log_in(
    guarded: LiveServer, ada: httpx.AsyncClient, way: str
) -> None:
    mine = await saved(ada, saying("{{ message }}"))
    options: dict[str, Any] = {"header": {"additional_headers": bearer("ada")}}.get(way, {})
    if way == "subprotocol":
        options = {"subprotocols": ["chat.v1", f"bearer.{token('ada')}"]}
    query = f"?token={token('ada')}" if way == "query" else ""
    async with socket(guarded.ws + path(mine, query), **options) as opened:
        if way == "frame":
            await opened.send(type="auth", token=token("ada"))
        assert (await opened.frame())["data"]["state"] == "authenticated"
        assert text(await told(opened, "hi")) == "hi"


async def test_a_message_with_another_users_token_is_not_executed(
    guarded: LiveServer, ada: httpx.AsyncClient
) -> None:
    mine = await saved(ada, saying("ada's draft"))
    async with socket(guarded.ws + path(mine)) as opened:
        assert text(await told(opened, "hi", token=token("ada"))) == "ada's draft"
        (refused,) = await told(opened, "hi", token=token("bob"))
        assert refused["data"]["code"] == "AUTH_INVALID"
        assert text(await told(opened, "hi", token=token("ada", seconds=7200))) == "ada's draft"


async def test_without_a_login_nothing_is_executed(guarded: LiveServer) -> None:
    async with socket(guarded.ws + path("team")) as opened:
        error = await opened.ask(message="hi", user_id="ada")
        assert (error["type"], error["data"]["code"]) == ("flow_error", "AUTH_REQUIRED")
        assert isinstance(error["timestamp"], float)
        assert (await opened.ask(message="hi", token=token("ada")))["data"][
            "state"
        ] == "authenticated"


@pytest.mark.parametrize("query", ["", "?token=bad", "?token="])
async def test_the_third_bad_login_closes(guarded: LiveServer, query: str) -> None:
    async with socket(guarded.ws + path("team", query)) as opened:
        if query:
            assert (await opened.frame())["data"]["code"] == (
                "AUTH_INVALID" if "bad" in query else "AUTH_REQUIRED"
            )
        for _ in range(2 if query else 3):
            error = await opened.ask(message="hi", token="bad")
            assert (error["type"], error["data"]["code"]) == ("flow_error", "AUTH_INVALID")
        assert await opened.closed() == 4401


async def test_a_user_id_counts_where_nobody_logs_in_only(
    house: LiveServer, guarded: LiveServer, teller: Teller
) -> None:
    async with httpx.AsyncClient(base_url=house.url, trust_env=False) as client:
        mine = await published(client, saying("one"))
        await client.put(f"{FLOWS}/{mine}", json=saying("two"))
    assert await said(house, mine, "hi") == "two", "everybody without a name is the owner"
    assert await said(house, mine, "hi", user_id="somebody") == "one"
    async with httpx.AsyncClient(
        base_url=guarded.url, headers=bearer("ada"), trust_env=False
    ) as client:
        mine = await published(client, saying("one"))
        await client.put(f"{FLOWS}/{mine}", json=saying("two"))
    assert await said(guarded, mine, "hi", user_id="bob", token=token("ada")) == "two"
    assert await said(guarded, mine, "hi", user_id="ada", token=token("bob")) == "one"


# -- which flow, if any ----------------------------------------------------------------------------


async def test_the_owner_runs_the_draft_and_others_what_is_published(
    guarded: LiveServer, ada: httpx.AsyncClient
) -> None:
    mine = await published(ada, saying("published"))
    await ada.put(f"{FLOWS}/{mine}", json=saying("draft"))
    assert await said(guarded, mine, "hi", token=token("ada")) == "draft"
    assert await said(guarded, mine, "hi", token=token("bob")) == "published"
    await ada.delete(f"{FLOWS}/{mine}/publish")
    async with socket(guarded.ws + path(mine, f"?token={token('bob')}")) as opened:
        assert (await told(opened, "hi"))[-1]["data"]["code"] == "AGENT_NOT_FOUND"
        assert await opened.closed() == 4404


async def test_an_agent_that_is_not_there_closes(house: LiveServer) -> None:
    async with socket(house.ws + path("nobody")) as opened:
        (error,) = await told(opened, "hi")
        assert (error["type"], error["data"]["code"]) == ("flow_error", "AGENT_NOT_FOUND")
        assert await opened.closed() == 4404


async def test_as_long_as_no_flow_is_published_every_agent_is_the_default_graph(
    tmp_path: Path, teller: Teller
) -> None:
    with running_server(tmp_path, **model_settings(teller)) as server:
        async with socket(server.ws + path("your-agent-id")) as opened:
            frames = await told(opened, "hello", user_id="user-123")
        assert text(frames) == "You said: hello"
        assert frames[1]["data"]["agent_id"] == "your-agent-id"
        elements = [frame["data"] for frame in frames if frame["type"] == "element_completed"]
        assert {"classifier", "retriever", "specs"} <= {one["element_id"] for one in elements}
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            await saved(client, saying("a flow"), "flow")
            async with socket(server.ws + path("your-agent-id")) as opened:
                drafted = text(await told(opened, "a draft is nobody else's business"))
            assert drafted == "You said: a draft is nobody else's business"
            await published(client, saying("a flow"), "flow")
        assert await said(server, "team", "the graphs stay") == "You said: the graphs stay"
        async with socket(server.ws + path("your-agent-id")) as opened:
            assert (await told(opened, "hi"))[-1]["data"]["code"] == "AGENT_NOT_FOUND"


# -- the conversation ------------------------------------------------------------------------------


def prompts(teller: Teller, question: str) -> list[tuple[str, str]]:
    """What the model was shown of the conversation when it was last asked this."""
    messages = teller.asked(question)[-1].body["messages"]
    return [(one["role"], one["content"]) for one in messages if one["role"] != "system"]


async def test_a_session_is_continued_over_connections(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    agent, session, other = await saved(owner, prompting("Be brief.")), str(uuid4()), str(uuid4())
    await said(house, agent, "first in session", session_id=session)
    await said(house, agent, "elsewhere", session_id=other)
    await said(house, agent, "second in session", session_id=session)
    assert prompts(teller, "second in session") == [
        ("user", "first in session"),
        ("assistant", "You said: first in session"),
        ("user", "second in session"),
    ]


@pytest.mark.parametrize("frame", [{}, {"session_id": None}, {"session_id": ""}])
async def test_without_a_session_a_connection_is_one_conversation(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller, frame: dict[str, Any]
) -> None:
    agent, mark = await saved(owner, prompting("Be brief.")), str(uuid4())
    async with socket(house.ws + path(agent)) as opened:
        await told(opened, f"one {mark}", **frame)
        await told(opened, f"two {mark}", **frame)
    await said(house, agent, f"three {mark}", **frame)
    assert [content for _, content in prompts(teller, f"two {mark}")] == [
        f"one {mark}",
        f"You said: one {mark}",
        f"two {mark}",
    ]
    assert prompts(teller, f"three {mark}") == [("user", f"three {mark}")]


async def test_a_session_is_its_agents_own(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    one, two = await saved(owner, prompting("One.")), await saved(owner, prompting("Two."))
    session = str(uuid4())
    await said(house, one, "asked of one", session_id=session)
    await said(house, two, "asked of two", session_id=session)
    assert prompts(teller, "asked of two") == [("user", "asked of two")]


async def test_the_clients_own_history_and_inputs_are_heeded(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    agent = await saved(owner, prompting('Speak {{ inputs["think"]["language"] }}.'))
    history = [
        {"role": "user", "content": "I am Ada."},
        {"role": "assistant", "content": "Hello Ada."},
    ]
    inputs = {"think": {"language": "German"}}
    await said(house, agent, "who am I?", conversation_history=history, initial_inputs=inputs)
    assert prompts(teller, "who am I?") == [
        ("user", "I am Ada."),
        ("assistant", "Hello Ada."),
        ("user", "who am I?"),
    ]
    assert "Speak German." in teller.asked("who am I?")[-1].system


async def test_verbose_shows_what_other_elements_say(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    think = node("think", "agent", prompt="Think.")
    agent = await saved(
        owner, line(think, node("say", "template", template='So: {{ outputs["think"] }}'))
    )
    assert await said(house, agent, "quietly") == "So: You said: quietly"
    async with socket(house.ws + path(agent, "?verbose=1")) as opened:
        frames = await told(opened, "loudly")
    assert text(frames) == "So: You said: loudly"
    drafts = [
        one["data"] for one in frames if one["type"] == "llm_chunk" and one["data"]["metadata"]
    ]
    assert "".join(one["content"] for one in drafts) == "You said: loudly"
    assert {one["element_id"] for one in drafts} == {"think"}


async def test_parallel_elements_interleave(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    gates = {name: threading.Event() for name in ("first", "second")}
    question = teller.answer("side by side", "Both together.")
    for name, gate in gates.items():
        teller.answer(
            question, Reply(f"From the {name}.", gate=gate, gate_at=1), agent=f"the {name} drafter"
        )
    flow = {
        "nodes": [
            node("in", "input"),
            node("both", "parallel"),
            *(node(name, "agent", prompt=f"You are the {name} drafter.") for name in gates),
            node("join", "synthesis", prompt="Join."),
            node("out", "output"),
        ],
        "edges": [
            edge("in", "both"),
            *(edge("both", name) for name in gates),
            *(edge(name, "join") for name in gates),
            edge("join", "out"),
        ],
    }
    agent = await saved(owner, flow)
    async with socket(house.ws + path(agent, "?verbose=1")) as opened:
        await opened.frame()
        await opened.send(message=question)
        frames = await opened.until("llm_chunk") + await opened.until("llm_chunk")
        for name in ("second", "first"):
            gates[name].set()
            while not (
                frames[-1]["type"] == "element_completed"
                and frames[-1]["data"]["element_id"] == name
            ):
                frames.append(await opened.frame())
        frames += await opened.until(*ENDS)
    assert text(frames) == "Both together."
    drafts = [
        one["data"] for one in frames if one["type"] == "llm_chunk" and one["data"]["metadata"]
    ]
    for name in gates:
        assert (
            "".join(one["content"] for one in drafts if one["element_id"] == name)
            == f"From the {name}."
        )
    assert set(frames[-1]["data"]["element_outputs"]) == {
        "in",
        "both",
        "first",
        "second",
        "join",
        "out",
    }
    assert [
        s
        for s in teller.asked(question)
        if "From the first." in s.system and "From the second." in s.system
    ]


async def test_a_second_message_waits_for_its_turn(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    slow = teller.answer("a slow flow", Reply("slow", gate=gate, gate_at=0))
    agent = await saved(owner, prompting("Be brief."))
    async with socket(house.ws + path(agent)) as opened:
        await opened.send(message=slow)
        await opened.until("element_started")
        await opened.send(message="a quick one")
        gate.set()
        first, second = await opened.until(*ENDS), await opened.until(*ENDS)
    assert first[-1]["data"]["final_output"]["text_output"] == "slow"
    assert text(second) == "You said: a quick one"


async def test_bad_frames_are_told_and_the_socket_stays_open(house: LiveServer) -> None:
    async with socket(house.ws + path("hello")) as opened:
        await opened.frame()
        for frame, code in [
            ("{", "INVALID_JSON"),
            ("[]", "BAD_REQUEST"),
            ("{}", "UNKNOWN_TYPE"),
            ('{"message": ""}', "EMPTY_MESSAGE"),
            ('{"message": " \\n"}', "EMPTY_MESSAGE"),
            ('{"user_id": "local"}', "EMPTY_MESSAGE"),
            ('{"message": "x", "initial_inputs": 1}', "BAD_REQUEST"),
        ]:
            await opened.connection.send(frame)
            error = await opened.frame()
            assert (error["type"], error["data"]["code"]) == ("flow_error", code), frame
        assert (await opened.ask(type="ping"))["data"]["message"] == "pong"
        assert text(await told(opened, "hi")) == "hello"


async def test_cancel_stops_the_flow(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    held = teller.answer("cancel this flow", Reply("some words and no more", gate=gate, gate_at=2))
    agent = await saved(owner, prompting("Be brief."))
    async with socket(house.ws + path(agent)) as opened:
        await opened.send(message=held)
        await opened.until("llm_chunk")
        await opened.send(type="cancel")
        error = (await opened.until(*ENDS))[-1]["data"]
        assert error["code"] == "CANCELLED"
        assert error["partial_execution_order"] == ["in", "think"]
        assert error["partial_outputs"]["think"]["output"].startswith("some ")
        gate.set()
        assert text(await told(opened, "and on")) == "You said: and on"


async def test_a_flow_that_fails_says_so(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    refused = teller.answer("a flow that fails", Reply(status=400))
    agent = await saved(
        owner, line(node("a", "template", template="x"), node("think", "agent", prompt="Hm."))
    )
    async with socket(house.ws + path(agent)) as opened:
        frames = await told(opened, refused)
        check_flows(frames)
        error = frames[-1]["data"]
        assert (error["code"], error["reason"]) == ("EXECUTION_ERROR", "MODEL_REFUSED")
        assert error["partial_execution_order"] == ["in", "a", "think"]
        assert error["partial_outputs"]["a"] == {"output": "x"}
        assert text(await told(opened, "and on")) == f"You said: {refused}\n\nand on"


async def test_a_model_that_falls_silent_is_a_timeout_with_what_was_said(
    tmp_path: Path, teller: Teller
) -> None:
    silent = teller.answer("a silent model", Reply("Half an answer", hang_after=1))
    with running_server(tmp_path, **model_settings(teller), model_seconds=0.2) as server:
        async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
            agent = await saved(client, prompting("Be brief."))
        async with socket(server.ws + path(agent)) as opened:
            frames = await told(opened, silent)
    check_flows(frames)
    error = frames[-1]["data"]
    assert (error["code"], error["reason"]) == ("TIMEOUT", "MODEL_TIMEOUT")
    assert error["partial_outputs"] == {"in": {"output": silent}, "think": {"output": "Half "}}


async def test_a_socket_on_which_nothing_happens_is_closed_but_never_in_the_middle_of_a_flow(
    tmp_path: Path, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer("longer than patience", Reply("One two three.", gate=gate, gate_at=1))
    with running_server(tmp_path, **model_settings(teller), idle_seconds=0.3) as server:
        async with socket(server.ws + path("team")) as opened:
            await opened.frame()
            await opened.send(message=question)
            await opened.until("llm_chunk")
            await asyncio.to_thread(threading.Event().wait, 0.7)
            gate.set()
            await opened.until("flow_completed")
            assert await opened.closed() == 1000


async def test_goodbye_closes(house: LiveServer) -> None:
    async with socket(house.ws + path("hello")) as opened:
        await opened.send(type="disconnect")
        assert await opened.closed() == 1000


# -- questions and resuming ------------------------------------------------------------------------


async def test_a_message_sent_ahead_waits_for_all_questions_of_the_flow_before_it(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    first = teller.answer("sent ahead", Reply("Hm.", gate=gate, gate_at=0))
    twice = line(
        node("think", "agent", prompt="Be brief."),
        node("one", "approval", question="One?"),
        node("two", "approval", question="Two?"),
        node("say", "template", template='{{ outputs["one"] }}, {{ outputs["two"] }}'),
    )
    agent = await published(owner, twice)
    async with socket(house.ws + path(agent)) as opened:
        await opened.frame()
        for frame in ({"message": first}, {"message": "second"}, {"type": "ping"}):
            await opened.send(**frame)
        begun: list[dict[str, Any]] = []
        while (frame := await opened.frame())["data"].get("message") != "pong":
            begun.append(frame)
        gate.set()  # now both messages are accepted, and nothing has been asked yet
        shown = [text([*begun, *await opened.until(*ENDS)])]
        for message in ("a", "b"):
            shown.append(text(await told(opened, message)))
        assert shown == ["One?", "Two?", "a, b"]
        assert text(await opened.until(*ENDS)) == "One?", "now the second message has its turn"
        await opened.send(type="cancel")
        assert (await opened.until(*ENDS))[-1]["data"]["code"] == "CANCELLED", (
            "a flow that waits can be stopped, too"
        )


async def test_the_next_message_answers_a_question(
    house: LiveServer, owner: httpx.AsyncClient
) -> None:
    agent, session = await saved(owner, approving()), str(uuid4())
    async with socket(house.ws + path(agent)) as opened:
        asked = await told(opened, "the letter", session_id=session)
    assert text(asked) == "Send the letter?"
    assert asked[-1]["data"]["interrupt"]["options"] == ["yes", "no"]
    async with socket(house.ws + path(agent)) as opened:
        answered = await told(opened, "yes", session_id=session)
        assert text(answered) == "You said yes."
        assert answered[-1]["data"]["execution_order"] == ["in", "ask", "say", "out"]
        check_flows(asked + answered)
        assert (
            text(await told(opened, "another letter", session_id=session)) == "Send another letter?"
        )


async def test_a_user_who_names_itself_resumes_what_is_its_own(
    house: LiveServer, owner: httpx.AsyncClient
) -> None:
    agent = await published(owner, saying("hello"))
    async with socket(house.ws + path(agent)) as opened:
        await opened.frame()
        await opened.send(message="hi", user_id="user-123")
        whole = await opened.texts_until(*ENDS)
    resume = {
        "type": "resume",
        "run_id": json.loads(whole[0])["run_id"],
        "last_seq": json.loads(whole[0])["seq"],
    }
    async with socket(house.ws + path(agent)) as opened:
        await opened.frame()
        assert (await opened.ask(**resume, user_id="user-124"))["data"]["code"] == "NOT_FOUND"
        await opened.send(**resume, user_id="user-123")
        assert await opened.texts_until(*ENDS) == whole[1:]


async def test_a_resumption_may_log_in_as_a_message_may(
    guarded: LiveServer, ada: httpx.AsyncClient
) -> None:
    agent = await published(ada, saying("hello"))
    async with socket(guarded.ws + path(agent)) as opened:
        await opened.send(message="hi", token=token("ada"))
        whole = (await opened.texts_until(*ENDS))[1:]
    resume = {"type": "resume", "run_id": json.loads(whole[0])["run_id"], "last_seq": 0}
    async with socket(guarded.ws + path(agent)) as opened:
        assert (await opened.ask(**resume, user_id="ada"))["data"]["code"] == "AUTH_REQUIRED"
        assert (await opened.ask(**resume, token="bad"))["data"]["code"] == "AUTH_INVALID"
        await opened.send(**resume, token=token("ada"))
        assert (await opened.texts_until(*ENDS))[1:] == whole
    async with socket(guarded.ws + path(agent)) as opened:
        assert (await opened.ask(**resume, token=token("bob")))["data"]["state"] == "authenticated"
        assert (await opened.frame())["data"]["code"] == "NOT_FOUND"


async def test_a_cursor_that_cannot_be_served_is_told(
    house: LiveServer, owner: httpx.AsyncClient
) -> None:
    async with socket(house.ws + path("hello")) as opened:
        run = (await told(opened, "hi"))[-1]["run_id"]
        assert (await opened.ask(type="resume", run_id=run, last_seq=999))["data"][
            "code"
        ] == "CURSOR_GONE"
        assert (await opened.ask(type="resume", run_id=str(uuid4())))["data"]["code"] == "NOT_FOUND"
        assert (await opened.ask(type="resume"))["data"]["code"] == "BAD_REQUEST"


# -- kill -9 in between ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[ProcessServer]:
    with server_process(tmp_path_factory.mktemp("mortal"), model_environment(teller)) as server:
        yield server


async def test_a_question_is_answered_at_the_next_server(mortal: ProcessServer) -> None:
    async with httpx.AsyncClient(base_url=mortal.url, trust_env=False) as client:
        agent = await saved(client, approving())
    assert await said(mortal, agent, "it", session_id="s", user_id="local") == "Send it?"
    mortal.kill()
    mortal.start()
    assert await said(mortal, agent, "no", session_id="s", user_id="local") == "You said no."


async def test_a_workflow_of_three_steps_outlives_its_servers(
    mortal: ProcessServer, teller: Teller
) -> None:
    """The server is killed between two steps, and in the middle of one."""
    gate = threading.Event()
    async with httpx.AsyncClient(base_url=mortal.url, trust_env=False) as client:
        agent = await saved(client, steps())

    async def turn(message: str) -> list[dict[str, Any]]:
        async with socket(mortal.ws + path(agent)) as opened:
            return await told(opened, message, session_id="w")

    def order(frames: list[dict[str, Any]]) -> list[str]:
        assert text(frames)
        found: list[str] = frames[-1]["data"]["execution_order"]
        return found

    assert order(await turn("hello step")) == ["in", "greet"]
    mortal.kill()
    mortal.start()
    assert order(await turn("more of it")) == ["greet"]
    held = teller.answer(
        "next one", Reply("Which car is it?", gate=gate, gate_at=2), "Which car is it?"
    )
    async with socket(mortal.ws + path(agent)) as opened:
        await opened.frame()
        await opened.send(message=held, session_id="w")
        had = await opened.until("llm_chunk")
        mortal.kill()
    gate.set()
    mortal.start()
    async with socket(mortal.ws + path(agent)) as opened:
        await opened.frame()
        await opened.send(type="resume", run_id=had[-1]["run_id"], last_seq=had[-1]["seq"])
        whole = had + await opened.until(*ENDS)
    assert (order(whole), text(whole)) == (["ask"], "Which car is it?")
    mortal.kill()
    mortal.start()
    assert order(await turn("next two")) == ["bye"]
    assert order(await turn("hello again")) == ["in", "greet"]
    shown = [content for _, content in prompts(teller, "next two")]
    assert shown[:2] == ["hello step", "You said: hello step"], "the conversation is remembered"


# -- from hand to others ---------------------------------------------------------------------------


async def test_a_flow_drawn_by_hand_travels_as_yaml_and_is_run_by_others(
    ada: httpx.AsyncClient, guarded: LiveServer, teller: Teller
) -> None:
    drawn = {
        "name": "Desk",
        "viewport": {"x": 0.5, "y": -10, "zoom": 1},
        "nodes": [
            node("in", "input") | {"position": {"x": 0, "y": 0}},
            node(
                "kind",
                "classifier",
                classes=[{"name": "price", "examples": ["How much?"]}, {"name": "other"}],
            ),
            node("which", "condition"),
            node("seek", "retriever", query="price {{ message }}"),
            node("sell", "agent", prompt="Be a clerk.\nSay the price: yes or no"),
            node("sorry", "template", template='Sorry, "{{ upper(message) }}" is not for sale.'),
            node("out", "output"),
        ],
        "edges": [
            edge("in", "kind"),
            edge("kind", "which"),
            edge("which", "seek", 'outputs["kind"] == "price"'),
            edge("which", "sorry"),
            edge("seek", "sell"),
            edge("sell", "out"),
            edge("sorry", "out"),
        ],
    }
    first = await saved(ada, drawn)
    exported = await ada.get(f"{FLOWS}/{first}", params={"format": "yaml"})
    imported = (await ada.post(FLOWS, content=exported.content)).json()["agent_id"]
    assert (await ada.get(f"{FLOWS}/{imported}")).json() == drawn
    assert (
        await ada.get(f"{FLOWS}/{imported}", params={"format": "yaml"})
    ).content == exported.content
    await ada.post(f"{FLOWS}/{imported}/publish")
    question = teller.answer("what does it cost", "10 talers.")
    for chosen, order in (
        ("price", ["kind", "which", "seek", "sell"]),
        ("other", ["kind", "which", "sorry"]),
    ):
        route = json.dumps({"primary": chosen, "supporting": [], "confidence": 0.9, "parts": []})
        teller.answer(question, route, agent="route")
        async with socket(guarded.ws + path(imported, f"?token={token('bob')}")) as opened:
            frames = await told(opened, question)
        says = "10 talers." if chosen == "price" else 'Sorry, "WHAT DOES IT COST" is not for sale.'
        assert text(frames) == says
        end = frames[-1]["data"]
        assert end["execution_order"] == ["in", *order, "out"]
        assert end["element_outputs"]["kind"] == {"output": chosen}
        assert ("sources" in end["element_outputs"].get("seek", {})) == (chosen == "price")


async def test_a_flow_is_run_in_other_vocabularies_by_the_name_of_its_graph(
    guarded: LiveServer, ada: httpx.AsyncClient, bob: httpx.AsyncClient
) -> None:
    agent = await saved(ada, saying("It is {{ message }}."))
    body = {"message": "me", "graph": f"flow:{agent}"}
    blocks = await sse_all(ada, "POST", "/api/v1/runs", json=body)
    assert blocks[-1].data["text"] == "It is me."
    refused = await bob.post("/api/v1/runs", json=body)
    assert (refused.status_code, refused.json()["code"]) == (400, "UNKNOWN_GRAPH")
    await ada.post(f"{FLOWS}/{agent}/publish")
    assert (await sse_all(bob, "POST", "/api/v1/runs", json=body))[-1].data["text"] == "It is me."
    async with socket(guarded.ws + path(agent, f"?token={token('ada')}")) as opened:
        await opened.frame()
        await opened.send(type="resume", run_id=blocks[0].data["run_id"])
        assert text(await opened.until(*ENDS)) == "It is me.", "and shown in this one"


async def test_runs_of_a_flow_go_on_as_it_was_when_they_began(
    house: LiveServer, owner: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    held = teller.answer(
        "while it changes", Reply("the first prompt's answer", gate=gate, gate_at=1)
    )
    agent = await saved(owner, prompting("Be brief."))
    async with socket(house.ws + path(agent)) as opened:
        await opened.send(message=held)
        await asyncio.to_thread(teller.wait_asked, held)
        await owner.put(f"{FLOWS}/{agent}", json=saying("changed"))
        await owner.delete(f"{FLOWS}/{agent}")
        gate.set()
        frames = await opened.until(*ENDS)
    assert frames[-1]["data"]["final_output"]["text_output"] == "the first prompt's answer"
