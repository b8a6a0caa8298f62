"""The door: which hosts and which pages may speak to the server, over HTTP and WebSocket alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import InvalidStatus

from antiphon.api.guard import Guard
from antiphon.api.limits import ClientLimits
from antiphon.api.settings import Settings
from tests.api.wire import socket
from tests.support.server import UNLIMITED, LiveServer, bearer, jwt_settings, running_server, token

OFF, ON = (
    Settings(),
    Settings(**jwt_settings(), origins=("https://app.example",), hosts=("chat.example",)),
)
SOCKETS = ["/api/v1/ws", "/ws/chat", "/api/streaming/ws/c-1"]

LOCAL_PAGES = [
    "http://localhost",
    "http://localhost:5173",
    "http://127.0.0.1:3000",
    "https://127.0.0.1",
    "http://[::1]:8",
]
FOREIGN_PAGES = [
    "null",
    "",
    "https://evil.example",
    "http://localhost.evil.example",
    "http://127.0.0.1.evil.example",
    "http://evil.example#localhost",
    "http://evil.example/localhost",
    "http://localhost@evil.example",
    "file://localhost",
    "chrome-extension://localhost",
    "localhost",
    "http://",
    "http://10.0.0.1",
    "http://app.example",
    "https://app.example.evil.example",
    "https://app.example:444",
]
LOCAL_HOSTS = ["localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000", "LOCALHOST", "127.9.9.9"]
FOREIGN_HOSTS = [
    "evil.example",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "",
    "0.0.0.0",
    "192.168.0.1:8000",
]


def door(settings: Settings) -> Guard:
    return Guard(settings, ClientLimits(settings))


@given(st.sampled_from(LOCAL_PAGES + FOREIGN_PAGES))
def test_with_auth_off_pages_of_this_machine_pass(origin: str) -> None:
    assert door(OFF).origin_allowed(origin, "localhost:8000") == (origin in LOCAL_PAGES)


@given(st.sampled_from(LOCAL_PAGES + FOREIGN_PAGES))
def test_with_auth_on_only_listed_pages_and_our_own_pass(origin: str) -> None:
    allowed = {"https://app.example", "https://chat.example"}
    assert door(ON).origin_allowed(origin, "chat.example") == (origin in allowed)
    assert door(ON).origin_allowed("https://chat.example", "chat.example")
    assert not door(ON).origin_allowed("https://other.example", "chat.example")


def test_a_star_lets_every_page_in() -> None:
    assert door(Settings(origins=("*",))).origin_allowed("https://evil.example", "localhost")


SAME = [
    ("https://chat.example", "chat.example:443"),
    ("http://chat.example", "chat.example:80"),
    ("https://chat.example", "CHAT.example"),
    ("HTTPS://Chat.Example", "chat.example:443"),
    ("https://chat.example:443", "chat.example"),
    ("https://[2001:DB8::1]", "[2001:db8::1]:443"),
    ("https://chat.example:8443", "chat.example:8443"),
]
DIFFERENT = [
    ("https://chat.example", "chat.example:80"),
    ("http://chat.example", "chat.example:443"),
    ("https://chat.example", "chat.example:8443"),
    ("https://chat.example", "chat.example.evil.example"),
    ("https://chat.example", ""),
    ("https://chat.example:x", "chat.example"),
    ("https://chat.example/page", "chat.example"),
]


@pytest.mark.parametrize(("origin", "host"), SAME + DIFFERENT)
def test_our_own_page_is_known_by_scheme_name_and_port(origin: str, host: str) -> None:
    assert door(ON).origin_allowed(origin, host) == ((origin, host) in SAME)


@pytest.mark.parametrize(
    "listed", ["https://app.example/", " https://app.example ", "HTTPS://App.Example:443/"]
)
def test_an_origin_in_the_settings_may_be_written_in_several_ways(listed: str) -> None:
    checked = door(Settings(**jwt_settings(), origins=(listed,)))
    assert checked.origin_allowed("https://app.example", "chat.example")
    assert not checked.origin_allowed("https://app.example:444", "chat.example")
    assert not checked.origin_allowed("http://app.example", "chat.example")


# ------------------------------------------------------------------------------------ over the wire


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with authentication that knows its own name and one page."""
    folder: Path = tmp_path_factory.mktemp("listed")
    names = {"origins": ("https://App.example/",), "hosts": ("Chat.example ", "127.0.0.1")}
    given = jwt_settings() | UNLIMITED | names
    with running_server(folder, **given) as server:
        yield server


async def status(server: LiveServer, **headers: str) -> int:
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        return (await client.get("/health", headers=headers)).status_code


async def socket_status(server: LiveServer, path: str, **headers: str) -> int:
    """101 where the handshake succeeds."""
    try:
        async with socket(server.ws + path, additional_headers=headers):
            return 101
    except InvalidStatus as refused:
        return refused.response.status_code


@pytest.mark.parametrize("origin", LOCAL_PAGES)
async def test_a_page_of_this_machine_is_served(live: LiveServer, origin: str) -> None:
    assert await status(live, origin=origin) == 200
    assert await socket_status(live, "/ws/chat", origin=origin) == 101


@pytest.mark.parametrize("origin", FOREIGN_PAGES)
async def test_a_foreign_page_is_refused_by_every_kind_of_route(
    live: LiveServer, origin: str
) -> None:
    assert await status(live, origin=origin) == 403
    for path in SOCKETS:
        assert await socket_status(live, path, origin=origin) == 403


@pytest.mark.parametrize("host", LOCAL_HOSTS)
async def test_with_auth_off_names_of_this_machine_are_answered(
    live: LiveServer, host: str
) -> None:
    assert await status(live, host=host) == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
async def test_with_auth_off_other_names_are_refused(live: LiveServer, host: str) -> None:
    """A page elsewhere cannot reach us by pointing a name of its own at this machine."""
    assert await status(live, host=host) == 403


async def test_a_client_that_is_no_browser_needs_no_origin(
    live: LiveServer, listed: LiveServer
) -> None:
    assert await status(live) == await status(listed) == 200
    assert await socket_status(live, "/ws/chat") == 101


async def test_listed_pages_and_names_pass_and_others_do_not(listed: LiveServer) -> None:
    assert await status(listed, origin="https://app.example") == 200
    assert await status(listed, origin="http://localhost:5173") == 403
    assert await status(listed, host="chat.example:8000", origin="http://chat.example:8000") == 200
    assert await status(listed, host="Chat.Example:443", origin="https://chat.example") == 200
    assert await status(listed, host="evil.example") == 403
    assert await socket_status(listed, "/ws/chat", origin="https://app.example") == 101
    assert await socket_status(listed, "/ws/chat", origin="https://evil.example") == 403
    assert (
        await socket_status(listed, "/ws/chat?token=" + token(), origin="https://evil.example")
        == 403
    )


async def test_with_auth_on_and_no_list_every_name_is_answered(guarded: LiveServer) -> None:
    assert await status(guarded, host="any.example") == 200
    assert await status(guarded, host="any.example", origin="https://evil.example") == 403


@pytest.mark.parametrize("header", ["host", "origin"])
async def test_a_broken_name_is_refused_like_any_other(live: LiveServer, header: str) -> None:
    assert await status(live, **{header: "http://[::1" if header == "origin" else "[::1"}) == 403


@pytest.mark.parametrize("path", SOCKETS)
async def test_a_broken_origin_opens_no_socket(live: LiveServer, path: str) -> None:
    assert await socket_status(live, path, origin="http://[::1") in {403, 500}


async def test_a_refusal_is_told_as_json_with_its_code(live: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=live.url, trust_env=False) as client:
        native = await client.get("/api/v1/threads", headers={"origin": "https://evil.example"})
        chat = await client.post(
            "/api/v1/chat", json={"message": "x"}, headers={"origin": "https://evil.example"}
        )
    assert (native.status_code, native.json()["code"], native.json()["type"]) == (
        403,
        "FORBIDDEN",
        "error",
    )
    assert (chat.status_code, chat.json()["code"], "error" in chat.json()) == (
        403,
        "FORBIDDEN",
        True,
    )


# --------------------------------------------------------------------------------------------- CORS


SENT = [
    "accept",
    "accept-language",
    "authorization",
    "cache-control",
    "content-language",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "pragma",
    "x-requested-with",
]


async def preflight(server: LiveServer, origin: str, path: str = "/api/v1/runs") -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": ", ".join(SENT),
    }
    async with httpx.AsyncClient(base_url=server.url, trust_env=False) as client:
        return await client.options(path, headers=headers)


@pytest.mark.parametrize("origin", LOCAL_PAGES)
async def test_a_local_page_may_send_what_our_clients_send(live: LiveServer, origin: str) -> None:
    answer = await preflight(live, origin)
    assert answer.headers["access-control-allow-origin"] == origin
    allowed = answer.headers["access-control-allow-headers"].lower()
    assert set(SENT) <= set(allowed.split(", "))
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", [one for one in FOREIGN_PAGES if one])
async def test_a_foreign_page_is_told_nothing(live: LiveServer, origin: str) -> None:
    for answer in (
        await preflight(live, origin),
        await preflight(live, origin, "/api/streaming/multi-agent/stream"),
    ):
        assert answer.headers.get("access-control-allow-origin") is None


async def test_a_listed_page_is_named_and_no_other(listed: LiveServer) -> None:
    assert (await preflight(listed, "https://app.example")).headers[
        "access-control-allow-origin"
    ] == ("https://app.example")
    for origin in ("https://evil.example", "http://localhost", "https://app.example.evil.example"):
        assert "access-control-allow-origin" not in (await preflight(listed, origin)).headers


async def test_an_answer_names_the_page_that_may_read_it(live: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=live.url, trust_env=False) as client:
        answer = await client.get("/health", headers={"origin": "http://localhost:5173"})
    assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"


def test_a_caller_with_a_token_still_needs_an_allowed_page(listed: LiveServer) -> None:
    headers = bearer() | {"origin": "https://evil.example"}
    assert (
        httpx.get(f"{listed.url}/api/v1/threads", headers=headers, trust_env=False).status_code
        == 403
    )
