"""The server process: its socket, its limits on silent clients, its end."""

from __future__ import annotations

import asyncio
import signal
import socket as sockets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

from antiphon.api.protocol import HEADER_BYTES
from antiphon.api.serve import CLOSE_SECONDS, SEND_BUFFER, listen
from tests.api.wire import SOON, socket
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import (
    ROOT,
    LiveServer,
    ProcessServer,
    Teller,
    jwt_settings,
    model_environment,
    running_server,
    server_process,
    token,
    wait_until,
)

PATIENCE = 0.4


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server that waits for nobody."""
    given = {"auth_seconds": PATIENCE, "request_seconds": PATIENCE} | jwt_settings()
    with running_server(tmp_path_factory.mktemp("impatient"), **given) as server:
        yield server


def test_connections_inherit_a_small_buffer_and_the_detection_of_dead_peers() -> None:
    with listen("127.0.0.1", 0) as listener, sockets.create_connection(listener.getsockname()) as _:
        connection, _ = listener.accept()
        with connection:
            assert connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_SNDBUF) <= 2 * SEND_BUFFER
            assert connection.getsockopt(sockets.SOL_SOCKET, sockets.SO_KEEPALIVE)
            assert connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_NODELAY)
            assert connection.getsockopt(sockets.IPPROTO_TCP, sockets.TCP_USER_TIMEOUT) > 0


def test_it_listens_on_ipv6_too() -> None:
    with listen("::1", 0) as listener, sockets.create_connection(listener.getsockname()[:2]):
        pass


# ----------------------------------------------------------------------------------- silent clients


async def answer_to(server: LiveServer, *pieces: bytes) -> bytes:
    """What the server says to a client that sends this and then waits, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        async with asyncio.timeout(SOON):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            return await reader.read()
    except ConnectionError:
        return b"reset"
    finally:
        writer.close()


POST = b"POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\n"
LOGIN = f"authorization: Bearer {token()}\r\n".encode()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET /health HTTP/1.1\r\n",
        b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: y",
        POST + LOGIN + b"content-length: 100\r\n\r\n{",
        POST + LOGIN + b"transfer-encoding: chunked\r\n\r\n5\r\n{",
    ],
)
async def test_a_request_that_does_not_arrive_is_given_up(
    impatient: LiveServer, sent: bytes
) -> None:
    begun = time.monotonic()
    answer = await answer_to(impatient, sent)
    assert time.monotonic() - begun < PATIENCE + 20
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_who_is_not_logged_in_is_refused_before_the_body_and_answered_once(
    impatient: LiveServer,
) -> None:
    answer = await answer_to(impatient, POST + b"content-length: 100\r\n\r\n{")
    assert answer.startswith(b"HTTP/1.1 401 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_endless_headers_are_cut(impatient: LiveServer) -> None:
    line = b"x-long: " + b"y" * 8000 + b"\r\n"
    answer = await answer_to(
        impatient, b"GET /health HTTP/1.1\r\nhost: localhost\r\n", line * (HEADER_BYTES // 8000 + 2)
    )
    assert answer.startswith(b"HTTP/1.1 431 ") or answer == b"reset"


async def test_two_requests_on_one_connection_have_a_deadline_each(impatient: LiveServer) -> None:
    request = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    answer = await answer_to(impatient, request, request, b"GET /health HTTP/1.1\r\n")
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert answer.endswith(b"content-length: 0\r\n\r\n")
    assert b"HTTP/1.1 408 " in answer


@pytest.mark.parametrize("path", ["/ws/chat", "/api/v1/ws", "/api/streaming/ws/c-1"])
async def test_a_socket_on_which_nobody_logs_in_is_closed(impatient: LiveServer, path: str) -> None:
    async with socket(impatient.ws + path) as silent:
        frame = await silent.frame()
        assert (frame["type"], frame["code"]) == ("error", "AUTH_TIMEOUT")
        assert await silent.closed() == 4408


async def test_a_socket_that_logged_in_may_be_silent(impatient: LiveServer) -> None:
    async with socket(impatient.ws + "/api/v1/ws") as opened:
        assert (await opened.ask(type="auth", token=token()))["type"] == "auth_success"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * PATIENCE):
                await opened.connection.recv()
        assert opened.connection.close_code is None


async def test_an_unknown_client_cannot_stay_by_pinging(impatient: LiveServer) -> None:
    async with socket(impatient.ws + "/ws/chat") as opened:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and opened.connection.close_code is None:
            with suppress(TimeoutError, ConnectionClosed):
                await opened.send(type="ping")
                async with asyncio.timeout(PATIENCE / 4):
                    await opened.connection.wait_closed()
        assert opened.connection.close_code == 4408


async def test_a_large_head_together_with_its_body_is_no_endless_head(live: LiveServer) -> None:
    body = b'{"message":"' + b"x" * 100_000 + b'"}'
    head = b"POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n" % len(body)
    answer = await answer_to(
        live, head + b"content-type: application/json\r\nconnection: close\r\n\r\n" + body
    )
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"TOO_LARGE" in answer


# ------------------------------------------------------------------------------------------ the end


def test_ctrl_c_ends_it_with_status_0(tmp_path: Path) -> None:
    """SIGTERM: see `test_durability`."""
    with server_process(tmp_path) as server:
        assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "ok"
        process = server.process
        assert process is not None
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0
        assert "Traceback" not in server.log


ROUGH = ROOT / "tests/support/rough_graphs.py"
DRAIN = {"ANTIPHON_DRAIN_SECONDS": "0.5"}
FORCED_SECONDS = 0.5 + CLOSE_SECONDS + 20


def ask(server: LiveServer | ProcessServer, message: object, graph: str) -> str:
    """Send a message to a graph, and return the run's id."""
    body = {"message": str(message), "graph": graph}
    return str(httpx.post(f"{server.url}/api/v1/runs", json=body, trust_env=False).json()["run_id"])


def ended(server: LiveServer | ProcessServer, run_id: str) -> dict[str, object]:
    """The record of a run, once it has ended."""
    record: dict[str, object] = {}

    def is_over() -> bool:
        record.update(httpx.get(f"{server.url}/api/v1/runs/{run_id}", trust_env=False).json())
        return record["status"] not in {"running", "queued"}

    wait_until(is_over, "the run did not end")
    return record


@pytest.mark.parametrize(
    ("graph", "status"),
    [
        ("sleeps", 0),
        ("spins", 0),
        ("spins_on_loop", 1),
        ("backtracks_on_loop", 1),
        ("backtracks", -signal.SIGKILL),
    ],
)
def test_sigterm_ends_it_whatever_is_stuck_and_the_run_goes_on_at_the_next_server(
    tmp_path: Path, graph: str, status: int
) -> None:
    """0 where the event loop could end everything in order; otherwise it is cut off."""
    marker = tmp_path / "began"
    with server_process(tmp_path, DRAIN, "--graph", f"{ROUGH}:{graph}") as server:
        run_id = ask(server, marker, graph)
        wait_until(marker.exists, "the node did not begin")
        begun = time.monotonic()
        assert server.terminate() == status
        assert time.monotonic() - begun < FORCED_SECONDS
        if status == 1:
            assert ROUGH.name in server.log, "it says where it was stuck"
        server.start()
        record = ended(server, run_id)
    assert (record["status"], record["text"]) == ("completed", "done")


def test_models_that_chat_instead_of_routing_hold_nobody_up(tmp_path: Path, teller: Teller) -> None:
    chatter = Reply(
        chunks=["The best specialist is the one who knows about engines. " * 20] * 700, burst=True
    )
    questions = [teller.answer(f"chatty {number}", f"answer {number}") for number in range(3)]
    for question in questions:
        teller.answer(question, chatter, agent="route")
    with server_process(tmp_path, model_environment(teller)) as server:
        runs = [ask(server, question, "team") for question in questions]
        assert (
            httpx.get(f"{server.url}/health", trust_env=False, timeout=DEADLINE).status_code == 200
        )
        assert [ended(server, run_id)["text"] for run_id in runs] == [
            "answer 0",
            "answer 1",
            "answer 2",
        ]
        assert server.terminate() == 0


def test_thirty_plain_functions_wait_at_the_same_time(tmp_path: Path) -> None:
    with running_server(tmp_path, graphs=(f"{ROUGH}:meets",)) as server:
        runs = [ask(server, "hello", "meets") for _ in range(30)]
        assert {ended(server, run_id)["text"] for run_id in runs} == {"done"}


@pytest.mark.parametrize("graph", ["exits", "exits_on_loop"])
def test_a_node_that_exits_fails_its_run_and_nothing_else(tmp_path: Path, graph: str) -> None:
    with server_process(tmp_path, None, "--graph", f"{ROUGH}:{graph}") as server:
        for number in range(3):
            assert ended(server, ask(server, tmp_path / f"{number}", graph))["status"] == "failed"
            assert ended(server, ask(server, tmp_path / f"{number}", graph))["text"] == "done"
            assert httpx.get(f"{server.url}/health", trust_env=False).json()["status"] == "ok"
        assert server.terminate() == 0
