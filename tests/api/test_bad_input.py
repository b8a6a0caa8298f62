"""Whatever is sent, to whatever route:

the answer is in the client's own words, and the server lives on.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.api.app import create_app
from antiphon.api.problems import CODES
from antiphon.api.settings import Settings
from antiphon.data.ids import new_id
from tests.api.test_auth import FORGED
from tests.api.wire import SSE, Socket, socket, sse_all
from tests.support.deadline import DEADLINE
from tests.support.server import API_KEY, SECRET, LiveServer, bearer, token

POSTS = {
    "/api/v1/runs": "native",
    "/api/v1/runs/{run}/resume": "native",
    "/api/v1/chat": "chat",
    "/api/streaming/multi-agent/stream": "multi_agent",
    "/api/multi-agent/process": "multi_agent",
    "/chat/threads/{run}/messages": "threads",
    "/chat/threads/{run}/messages/stream": "threads",
    "/sessions/s-1/messages/stream": "sessions",
}
BAD_REQUEST = {"sessions": 422}
"""By which status a vocabulary's clients know a bad request, where it is not 400."""
FLOW = "/api/chat/execute/team"
SOCKETS = {
    "/api/v1/ws": "native",
    "/ws/chat": "chat",
    "/api/streaming/ws/c-1": "multi_agent",
    FLOW: "flows",
}
JSON = {"content-type": "application/json"}
DEEP = b'{"message":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
BODIES: dict[str, tuple[bytes, set[str]]] = {
    "empty": (b"", {"BAD_REQUEST", "INVALID_JSON"}),
    "not JSON": (b"nonsense", {"INVALID_JSON"}),
    "cut": (b'{"message":"x"', {"INVALID_JSON"}),
    "two": (b"{}{}", {"INVALID_JSON"}),
    "not UTF-8": (b'{"message":"\xff\xfe"}', {"INVALID_JSON", "BAD_REQUEST"}),
    "lone surrogate": (
        b'{"message":"\\ud800","query":"\\ud800","answer":"\\ud800"}',
        {"INVALID_JSON", "BAD_REQUEST"},
    ),
    "encoded surrogate": (b'{"message":"\xed\xa0\x80"}', {"INVALID_JSON", "BAD_REQUEST"}),
    "nested deep": (DEEP, {"INVALID_JSON", "BAD_REQUEST"}),
    "only brackets": (b"[" * 100_000, {"INVALID_JSON", "BAD_REQUEST"}),
    "NaN": (b'{"message":NaN}', {"INVALID_JSON"}),
    "huge number": (b'{"message":' + b"9" * 5000 + b"}", {"INVALID_JSON", "BAD_REQUEST"}),
    "null": (b"null", {"BAD_REQUEST", "INVALID_JSON"}),
    "list": (b"[]", {"BAD_REQUEST"}),
    "text": (b'"x"', {"BAD_REQUEST"}),
    "wrong types": (b'{"message":{"a":1},"query":[1],"agents":1,"context":"x"}', {"BAD_REQUEST"}),
    "10 MB": (b'{"message":"' + b"x" * 10_000_000 + b'"}', {"TOO_LARGE"}),
    "BOM": (b"\xef\xbb\xbf[]", {"BAD_REQUEST"}),
    "two BOMs": (b"\xef\xbb\xbf\xef\xbb\xbf{}", {"INVALID_JSON"}),
}


def check_words(body: dict[str, Any], dialect: str) -> None:
    """The frame of an error, as the dialect spells it."""
    if dialect == "flows":
        assert set(body) == {"type", "data", "timestamp"}
        body = {"type": body["type"].removeprefix("flow_"), **body["data"]}
    assert body.get("type") == (None if dialect in ("threads", "sessions") else "error")
    assert body["code"] in CODES
    if dialect == "native":
        assert set(body) == {"type", "code", "message", "at"}
    elif dialect == "chat":
        assert set(body) == {"type", "code", "error"}
    elif dialect == "flows":
        assert set(body) >= {"type", "code", "error"}
    elif dialect == "threads":
        assert set(body) == {"code", "error"}
    elif dialect == "sessions":
        assert set(body) == {"detail", "code"}
    else:
        assert set(body) == {"type", "code", "error", "agent", "recoverable", "timestamp"}
    said = str(body.get("message") or body.get("error") or body.get("detail"))
    assert said
    for internal in ("Traceback", "msgspec", "litestar", "File ", "/work/", "0x", "sqlite"):
        assert internal not in said


def code_of(frame: dict[str, Any]) -> str:
    code: str = frame.get("data", frame)["code"]
    return code


async def alive(client: httpx.AsyncClient) -> None:
    assert (await client.get("/health")).json()["status"] == "ok"


@pytest.fixture(autouse=True)
def quiet(live: LiveServer, guarded: LiveServer) -> Iterator[None]:
    """Nothing in this file is our own fault, and no secret reaches the log."""
    begun = live.lines.tell(), guarded.lines.tell()
    yield
    for server, start in zip((live, guarded), begun, strict=True):
        log = server.log[start:]
        errors = re.findall(r"^(?:ERROR|CRITICAL).*", log, re.MULTILINE)
        assert not [
            line for line in errors if "Invalid UTF-8 sequence received" not in line
        ]  # uvicorn says so itself
        for secret in (SECRET, API_KEY, "eyJhbGciOi"):
            assert secret not in log


# -- HTTP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("name", BODIES)
async def test_a_bad_body_is_told_in_the_routes_own_words(
    client: httpx.AsyncClient, path: str, name: str
) -> None:
    body, codes = BODIES[name]
    if "resume" in path and name in ("wrong types", "NaN", "huge number", "nested deep"):
        body = body.replace(b'"message"', b'"answer"')
        codes = codes | {"NOT_FOUND"}  # any JSON is an answer, to a run that is not there
    if "messages" in path:
        body = body.replace(b'"message"', b'"content"')
    for headers in (JSON, JSON | SSE):
        response = await client.post(path.format(run=new_id()), content=body, headers=headers)
        assert response.status_code in (BAD_REQUEST.get(POSTS[path], 400), 404, 413)
        assert response.json()["code"] in codes
        check_words(response.json(), POSTS[path])
        assert response.headers["content-type"] == "application/json"
        assert response.headers["cache-control"] == "no-store"
    await alive(client)


@pytest.mark.parametrize("path", POSTS)
async def test_a_body_without_end_is_cut(client: httpx.AsyncClient, path: str) -> None:
    async def endless() -> Any:
        for _ in range(200):
            yield b"[" * 64 * 1024

    try:
        response = await client.post(path.format(run=new_id()), content=endless(), headers=JSON)
    except httpx.TransportError:
        pass  # answered and closed while we were still sending
    else:
        assert (response.status_code, response.json()["code"]) == (413, "TOO_LARGE")
    await alive(client)


@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "image/png", ""],
)
async def test_another_content_type_is_read_as_json_or_refused(
    client: httpx.AsyncClient, path: str, kind: str
) -> None:
    response = await client.post(
        path.format(run=new_id()), content=b"a=1", headers={"content-type": kind}
    )
    assert response.status_code in (BAD_REQUEST.get(POSTS[path], 400), 415)
    check_words(response.json(), POSTS[path])


@given(st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_no_bytes_break_a_route(live: LiveServer, body: bytes) -> None:
    with httpx.Client(base_url=live.url, trust_env=False) as client:
        for path, dialect in POSTS.items():
            response = client.post(path.format(run=new_id()), content=body, headers=JSON)
            assert response.status_code in (BAD_REQUEST.get(dialect, 400), 404)
            check_words(response.json(), dialect)


@pytest.mark.parametrize(
    "path",
    ["/", "/nothing", "/api/v1", "/api/v1/runs/a/b", "/%00", "/%ff", "/%2e%2e/%2e%2e/etc/passwd"],
)
async def test_an_unknown_path_is_not_found(client: httpx.AsyncClient, path: str) -> None:
    for method in ("GET", "POST", "DELETE"):
        response = await client.request(method, path)
        assert response.status_code in (404, 405)
        assert response.json()["code"] in ("NOT_FOUND", "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", [path for path in POSTS if "{run}" not in path])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_another_method_is_not_allowed(
    client: httpx.AsyncClient, path: str, method: str
) -> None:
    response = await client.request(method, path)
    assert (response.status_code, response.json()["code"]) == (405, "METHOD_NOT_ALLOWED")


@pytest.mark.parametrize("path", ["/api/v1/chat", "/api/multi-agent/process"])
async def test_another_method_is_told_in_the_routes_own_words(
    client: httpx.AsyncClient, path: str
) -> None:
    check_words((await client.get(path)).json(), POSTS[path])


async def test_another_method_is_told_so_also_where_the_path_names_something(
    client: httpx.AsyncClient,
) -> None:
    for method, path in (
        ("PUT", "/sessions"),
        ("PUT", "/sessions/s-1"),
        ("GET", "/sessions/s-1/messages/stream"),
    ):
        response = await client.request(method, path)
        assert response.status_code == 405
        check_words(response.json(), "sessions")


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_request_to_a_socket_is_told_in_its_own_words(
    client: httpx.AsyncClient, path: str
) -> None:
    check_words((await client.get(path)).json(), SOCKETS[path])


async def test_405_says_which_methods_there_are(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/v1/chat")).headers["allow"] == "OPTIONS, POST"
    assert (await client.post("/api/v1/runs/some/events")).headers["allow"] == "GET, OPTIONS"
    assert (await client.get("/ws/chat")).headers.get("allow", "") == ""


@pytest.mark.parametrize(
    "run", ["x", "..", "%00", "%ff", "a" * 5000, "01900000-0000-7000-8000-000000000000", "ü", "'--"]
)
async def test_a_run_of_any_name_is_not_found(client: httpx.AsyncClient, run: str) -> None:
    for path in (
        f"/api/v1/runs/{run}",
        f"/api/v1/runs/{run}/events",
        f"/api/v1/threads/{run}/messages",
    ):
        response = await client.get(path)
        assert response.status_code == 404
        assert response.json()["code"] == "NOT_FOUND"


# -- who asks, and for what ------------------------------------------------------------------------


def routes_with(settings_: Settings, parameter: str) -> list[tuple[str, str]]:
    """`(method, path)` of all routes that name a run or a thread."""
    found = []
    for route in create_app(settings_).routes:
        if f"{{{parameter}:" in route.path:
            path = re.sub(r"\{\w+:\w+\}", "{id}", route.path)
            found += [
                (method, path) for method in sorted(getattr(route, "methods", set()) - {"OPTIONS"})
            ]
    return found


def without_time(body: Any) -> Any:
    return {name: value for name, value in body.items() if name not in ("at", "timestamp")}


@pytest.mark.parametrize("parameter", ["run_id", "thread_id"])
async def test_what_is_somebody_elses_is_as_good_as_missing(
    guarded: LiveServer, parameter: str
) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False, timeout=DEADLINE) as client:
        blocks = await sse_all(
            client, "POST", "/api/v1/runs", json={"message": "mine alone"}, headers=bearer("ada")
        )
        mine = blocks[0].data[parameter]
        routes = routes_with(guarded.settings, parameter)
        assert len(routes) >= 3
        for method, path in routes:
            for headers in (
                {},
                SSE,
                {"last-event-id": blocks[3].id},
                {"idempotency-key": str(uuid4())},
            ):
                answers = [
                    await client.request(
                        method,
                        path.format(id=one),
                        json={"answer": "x", "content": "x"},
                        headers=bearer("eve") | headers,
                    )
                    for one in (mine, new_id())
                ]
                assert [answer.status_code for answer in answers] == [404, 404], (method, path)
                assert without_time(answers[0].json()) == without_time(answers[1].json())
                assert {name for name in answers[0].headers if name != "date"} == {
                    name for name in answers[1].headers if name != "date"
                }


@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/streaming/multi-agent/stream"])
async def test_somebody_elses_thread_or_cursor_cannot_be_used(
    guarded: LiveServer, path: str
) -> None:
    async with httpx.AsyncClient(
        base_url=guarded.url, trust_env=False, timeout=DEADLINE, headers=bearer("eve")
    ) as client:
        blocks = await sse_all(
            client, "POST", "/api/v1/runs", json={"message": "x"}, headers=bearer("ada")
        )
        answers = []
        for run, thread in (
            (blocks[0].id, blocks[0].data["thread_id"]),
            (f"{new_id()}:1.0", new_id()),
        ):
            resumed = await client.post(path, json={"message": "x"}, headers={"last-event-id": run})
            assert (resumed.status_code, resumed.json()["code"]) == (410, "CURSOR_GONE")
            began = await client.post("/api/v1/runs", json={"message": "x", "thread_id": thread})
            assert (began.status_code, began.json()["code"]) == (404, "NOT_FOUND")
            answers.append((without_time(resumed.json()), without_time(began.json())))
        assert answers[0] == answers[1]
        own = (await client.get("/api/v1/threads")).json()["threads"]
        assert blocks[0].data["thread_id"] not in [thread["id"] for thread in own]


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_socket_does_not_say_whether_somebody_elses_run_exists(
    guarded: LiveServer, path: str
) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        blocks = await sse_all(
            client, "POST", "/api/v1/runs", json={"message": "x"}, headers=bearer("ada")
        )
    async with socket(f"{guarded.ws}{path}?token={token('eve')}") as opened:
        if path != "/api/v1/ws":
            await opened.frame()
        kinds: list[dict[str, Any]] = [{"type": "resume", "after": 1, "last_seq": 1}]
        if path not in ("/api/streaming/ws/c-1", FLOW):
            kinds.append({"type": "cancel"})
        if path == "/api/v1/ws":
            kinds.append({"type": "answer", "answer": 1})
        for kind in kinds:
            answers = [
                await opened.ask(**kind, run_id=run) for run in (blocks[0].data["run_id"], new_id())
            ]
            assert without_time(answers[0]) == without_time(answers[1])
            assert code_of(answers[0]) == "NOT_FOUND"
        if path == "/api/v1/ws":
            threads = [blocks[0].data["thread_id"], new_id()]
            answers = [await opened.ask(type="resume", thread_id=thread) for thread in threads]
            assert without_time(answers[0]) == without_time(answers[1])


BAD_LOGINS = {
    "none": {},
    "basic": {"authorization": "Basic YWRhOmFkYQ=="},
    "empty": {"authorization": ""},
    "bearer alone": {"authorization": "Bearer"},
} | {
    name: {"authorization": f"Bearer {one}"}
    for name, one in FORGED.items()
    if one.isascii() and one.isprintable()
}


@pytest.mark.parametrize("name", BAD_LOGINS)
async def test_a_bad_login_is_refused_by_every_route_in_its_own_words(
    guarded: LiveServer, name: str
) -> None:
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        for path, dialect in POSTS.items():
            response = await client.post(
                path.format(run=new_id()),
                json={"message": "x", "answer": 1},
                headers=BAD_LOGINS[name],
            )
            assert response.status_code == 401
            assert response.json()["code"] in ("AUTH_REQUIRED", "AUTH_INVALID")
            assert response.headers["www-authenticate"].startswith("Bearer")
            check_words(response.json(), dialect)
        for path in (
            "/api/v1/threads",
            f"/api/v1/runs/{new_id()}",
            f"/api/v1/threads/{new_id()}/events",
        ):
            assert (await client.get(path, headers=BAD_LOGINS[name])).status_code == 401


async def test_every_route_but_a_few_asks_for_a_login(guarded: LiveServer) -> None:
    open_to_all = {"/health", "/ws/test"}
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False) as client:
        for route in create_app(guarded.settings).routes:
            path = re.sub(r"\{\w+:\w+\}", new_id(), route.path)
            for method in sorted(getattr(route, "methods", set()) - {"OPTIONS", "HEAD"}):
                if path not in open_to_all and not path.startswith("/schema"):
                    response = await client.request(
                        method, path, json={"message": "x", "answer": 1}
                    )
                    assert response.status_code == 401, (method, path)


async def test_identity_comes_from_the_token_alone(guarded: LiveServer) -> None:
    """Fields that name another user change nothing."""
    async with httpx.AsyncClient(base_url=guarded.url, trust_env=False, timeout=DEADLINE) as client:
        user = f"eve-{uuid4()}"
        chat = {"message": "x", "customer_id": "ada", "user_id": "ada"}
        assert (
            await client.post("/api/v1/chat", json=chat, headers=bearer(user))
        ).status_code == 200
        stream = {"query": "x", "user_id": "ada"}
        await sse_all(
            client, "POST", "/api/streaming/multi-agent/stream", json=stream, headers=bearer(user)
        )
        assert (
            len((await client.get("/api/v1/threads", headers=bearer(user))).json()["threads"]) == 2
        )


# -- sockets ---------------------------------------------------------------------------------------


async def greeted(opened: Socket, path: str) -> None:
    if path in ("/api/streaming/ws/c-1", FLOW):
        assert (await opened.frame())["type"] in ("connected", "status")


FRAMES: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "INVALID_JSON"),
    "not JSON": ("nonsense", "INVALID_JSON"),
    "binary": (b'{"type":"ping"}', "UNSUPPORTED_DATA"),
    "empty binary": (b"", "UNSUPPORTED_DATA"),
    "nested deep": (DEEP.decode(), "INVALID_JSON"),
    "lone surrogate": ('{"type":"message","message":"\\ud800"}', "INVALID_JSON"),
    "NaN": ('{"type":"message","message":NaN}', "INVALID_JSON"),
    "list": ("[]", "BAD_REQUEST"),
    "null": ("null", "BAD_REQUEST"),
    "unknown type": ('{"type":"nonsense"}', "UNKNOWN_TYPE"),
    "type a list": ('{"type":["message"]}', "UNKNOWN_TYPE"),
    "message a number": ('{"type":"message","message":1}', "BAD_REQUEST"),
    "message a list": ('{"type":"message","message":["x"]}', "BAD_REQUEST"),
    "message empty": ('{"type":"message","message":" "}', "EMPTY_MESSAGE"),
    "message missing": ('{"type":"message"}', "EMPTY_MESSAGE"),
    "resume nothing": ('{"type":"resume"}', "BAD_REQUEST"),
    "resume a number": ('{"type":"resume","run_id":5}', "BAD_REQUEST"),
    "resume a negative place": (
        '{"type":"resume","run_id":"r","after":-1,"last_seq":-1}',
        "BAD_REQUEST",
    ),
    "resume a text as place": (
        '{"type":"resume","run_id":"r","after":"1","last_seq":"1"}',
        "BAD_REQUEST",
    ),
    "resume a NUL": ('{"type":"resume","run_id":"\\u0000"}', "BAD_REQUEST"),
    "resume nobody": ('{"type":"resume","run_id":"nobody"}', "NOT_FOUND"),
    "resume a long name": ('{"type":"resume","run_id":"' + "x" * 200 + '"}', "BAD_REQUEST"),
}


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_bad_frame_is_told_and_the_socket_stays_open(live: LiveServer, path: str) -> None:
    async with socket(live.ws + path) as opened:
        await greeted(opened, path)
        for name, (frame, code) in FRAMES.items():
            await opened.connection.send(frame)
            answer = await opened.frame()
            assert code_of(answer) == code, name
            check_words(answer, SOCKETS[path])
        await opened.send(type="message", message="still there")
        assert (await opened.until("complete", "run_complete", "flow_completed"))[-1][
            "type"
        ] != "error"


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_frame_that_is_too_large_closes_with_1009(live: LiveServer, path: str) -> None:
    async with socket(live.ws + path) as opened:
        await greeted(opened, path)
        try:
            await opened.connection.send("x" * 10_000_000)
        except Exception as error:
            assert "1009" in str(error) or "closed" in str(error).lower() or "close" in str(error)
        assert await opened.closed() in (1009, 1006)


@pytest.mark.parametrize("path", SOCKETS)
async def test_frames_that_break_the_protocol_close_only_their_socket(
    live: LiveServer, client: httpx.AsyncClient, path: str
) -> None:
    for raw in (
        b"\xff\xff\xff\xff",
        b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\0\0\0\0",
        b"\x81\x82\0\0\0\0\xff\xff",
    ):
        async with socket(live.ws + path) as opened:
            opened.connection.transport.write(raw)
            assert await opened.closed() in (1002, 1006, 1007, 1009)
    await alive(client)


@given(st.lists(st.text() | st.binary(), max_size=5))
@settings(max_examples=40, deadline=None)
def test_no_frames_break_a_socket(live: LiveServer, frames: list[str | bytes]) -> None:
    async def talk(path: str) -> None:
        async with socket(live.ws + path) as opened:
            await greeted(opened, path)
            for frame in frames:
                await opened.connection.send(frame)
                check_words(await opened.frame(), SOCKETS[path])
            assert (await opened.ask(type="ping"))["type"] == ("status" if path == FLOW else "pong")

    async def all_() -> None:
        await asyncio.gather(*(talk(path) for path in SOCKETS))

    asyncio.run(all_())


@pytest.mark.parametrize("path", SOCKETS)
async def test_nothing_but_a_login_is_heard_before_the_login(
    guarded: LiveServer, path: str
) -> None:
    async with socket(guarded.ws + path) as opened:
        for frame in (
            {"type": "message", "message": "x"},
            {"type": "resume", "run_id": new_id(), "after": 0},
            {"type": "cancel", "run_id": new_id()},
        ):
            answer = await opened.ask(**frame)
            assert code_of(answer) == "AUTH_REQUIRED"
            check_words(answer, SOCKETS[path])


@pytest.mark.parametrize("path", SOCKETS)
@pytest.mark.parametrize("name", FORGED)
async def test_a_bad_token_is_refused_by_every_socket(
    guarded: LiveServer, path: str, name: str
) -> None:
    async with socket(guarded.ws + path) as opened:
        await opened.connection.send(json.dumps({"type": "auth", "token": FORGED[name]}))
        answer = await opened.frame()
        assert answer["type"] in ("auth_error", "error", "flow_error")
        assert code_of(await opened.ask(type="message", message="x")) == "AUTH_REQUIRED"


def test_the_documents_pages_stay_below_their_folder(tmp_path: Path, live: LiveServer) -> None:
    with httpx.Client(base_url=live.url, trust_env=False) as client:
        for path in (
            "/schema/assets/..%2f..%2fsetup.py",
            "/schema/assets/%2e%2e/%2e%2e/__init__.py",
        ):
            assert client.get(path).status_code in (404, 405)


# ------------------------------------------------------------------------------- byte order marks

MARK = b"\xef\xbb\xbf"
MARKED = {
    "/api/v1/runs": 202,
    "/api/v1/chat": 200,
    "/api/streaming/multi-agent/stream": 200,
    "/api/multi-agent/process": 200,
    "/sessions/marked/messages": 200,
    "/sessions": 201,
    "/api/v1/flows/check": 200,
}


@pytest.mark.parametrize("path", MARKED)
async def test_a_byte_order_mark_before_json_is_ignored(
    client: httpx.AsyncClient, path: str
) -> None:
    body: dict[str, Any] = {"message": "hi", "query": "hi", "content": "hi"}
    if path == "/sessions":
        body = {"title": "hi"}
    if path.endswith("check"):
        body = (await client.get("/api/v1/flows/team")).json()
    data = MARK + json.dumps(body).encode()
    answer = await client.post(path, content=data, headers=JSON)
    assert answer.status_code == MARKED[path], answer.text
