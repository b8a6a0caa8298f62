"""Requests that do not arrive are not waited for."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from tests.support.server import LiveServer, running_server


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with running_server(tmp_path_factory.mktemp("hasty"), request_seconds=0.4) as server:
        yield server


def answer_to(server: LiveServer, *pieces: bytes) -> bytes:
    """What a raw connection gets for some bytes, until the server closes it."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as raw:
        for piece in pieces:
            raw.sendall(piece)
        found = b""
        while part := raw.recv(65536):
            found += part
    return found


def test_a_connection_that_says_nothing_is_closed(hasty: LiveServer) -> None:
    assert answer_to(hasty).startswith(b"HTTP/1.1 408 ")


def test_headers_that_never_end_are_not_waited_for(hasty: LiveServer) -> None:
    assert answer_to(hasty, b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: ").startswith(
        b"HTTP/1.1 408 "
    )


def test_a_body_that_never_comes_is_not_waited_for(hasty: LiveServer) -> None:
    head = b"POST /api/v1/runs HTTP/1.1\r\nhost: localhost\r\n"
    head += b"content-type: application/json\r\ncontent-length: 90\r\n\r\n{"
    assert answer_to(hasty, head).startswith(b"HTTP/1.1 408 ")


def test_headers_beyond_reason_are_refused(hasty: LiveServer) -> None:
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 70_000
    assert answer_to(hasty, head).startswith(b"HTTP/1.1 431 ")


def test_a_stream_lives_longer_than_a_request_may_take_to_arrive(hasty: LiveServer) -> None:
    head = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with socket.create_connection(("127.0.0.1", hasty.port), timeout=10) as raw:
        raw.sendall(head)
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 ")
        deadline = time.monotonic() + 0.6
        raw.settimeout(0.7)
        with pytest.raises(TimeoutError):
            raw.recv(1)
        assert time.monotonic() >= deadline
        raw.settimeout(10)
        raw.sendall(head)
        assert raw.recv(65536).startswith(b"HTTP/1.1 200 ")
