"""uvicorn's protocols with the limits that they lack: deadlines for requests and for readers, a cap on headers.

Without them a client that opens a connection and says nothing, never ends its headers, or takes nothing of what it
asked for, stays for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEADER_BYTES = 64 * 1024

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TIMEOUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class _PatientWriter(asyncio.Protocol):
    """Ends connections whose reader takes nothing. Closing would not: it waits for the room that there is not."""

    send_seconds = 30.0
    """How long a full buffer may stay full."""
    transport: Any
    loop: asyncio.AbstractEventLoop
    _full: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """The buffer is full: the reader has to take something."""
        super().pause_writing()
        self._full = self.loop.call_later(self.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """It did."""
        super().resume_writing()
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None


class PatientProtocol(_PatientWriter, HttpToolsProtocol):
    """Closes connections whose request does not arrive, or whose reader takes nothing. Patient for a while only."""

    request_seconds = 10.0
    """Time from the connection, or from a request's first byte, to that request's last byte."""
    _deadline: asyncio.TimerHandle | None = None
    _in_headers = True
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection is open: a request has to come."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come: count those of headers."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self._give_up(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_headers = True
        if self._deadline is None:
            self._header_bytes = 0
            self._expect()

    def on_headers_complete(self) -> None:
        """Its headers are complete."""
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is complete."""
        self._arrived()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """It became a WebSocket, which has deadlines of its own."""
        self._arrived()
        super().handle_websocket_upgrade()

    @classmethod
    def within(cls, request_seconds: float, send_seconds: float) -> type[PatientProtocol]:
        """This protocol with another patience."""
        return type(cls.__name__, (cls,), {"request_seconds": request_seconds, "send_seconds": send_seconds})

    def _expect(self) -> None:
        self._deadline = self.loop.call_later(self.request_seconds, self._give_up, _TIMEOUT)

    def _arrived(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self, answer: bytes) -> None:
        self._arrived()
        transport: Any = self.transport
        if transport.is_closing():
            return
        cycle = self.cycle
        if self._in_headers or cycle is None or not cycle.response_started:
            transport.write(answer)  # a request that has its answer, as 401, gets no second one
        transport.close()


class PatientSocket(_PatientWriter, WebSocketsSansIOProtocol):
    """Ends WebSockets whose reader takes nothing."""

    @classmethod
    def within(cls, send_seconds: float) -> type[PatientSocket]:
        """This protocol with another patience."""
        return type(cls.__name__, (cls,), {"send_seconds": send_seconds})
