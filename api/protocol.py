"""uvicorn's protocols with additional limits: deadlines for requests and readers, a cap on headers.

Without them a client could stay for ever that opens a connection and sends nothing, never ends its
headers, or does not read the response.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

HEADER_BYTES = 64 * 1024

_END = b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large" + _END
_TIMEOUT = b"HTTP/1.1 408 Request Timeout" + _END


class _PatientWriter(asyncio.Protocol):
    """Aborts connections whose client does not read. Closing would wait for the full buffer."""

    send_seconds = 30.0
    """How long a full buffer may stay full."""
    transport: Any
    loop: asyncio.AbstractEventLoop
    _full: asyncio.TimerHandle | None = None

    def pause_writing(self) -> None:
        """Start the deadline for the client to read, since the buffer is full."""
        super().pause_writing()
        self._full = self.loop.call_later(self.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Cancel the deadline, since the client has read."""
        super().resume_writing()
        self._forget()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline, since the connection is closed."""
        self._forget()
        super().connection_lost(exc)

    def _forget(self) -> None:
        if self._full is not None:
            self._full.cancel()
            self._full = None


class PatientProtocol(_PatientWriter, HttpToolsProtocol):
    """Closes HTTP connections whose request is late; aborts those whose client does not read."""

    request_seconds = 10.0
    """Time from the connection, or from a request's first byte, to that request's last byte."""
    _deadline: asyncio.TimerHandle | None = None
    _in_headers = True
    _header_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the deadline for the first request."""
        super().connection_made(transport)
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the deadline, since the connection is closed."""
        self._arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count the bytes of headers, and respond with 431 if they are too many."""
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > HEADER_BYTES:
            self._give_up(_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a request; start its deadline unless one is running."""
        super().on_message_begin()
        self._in_headers = True
        if self._deadline is None:
            self._header_bytes = 0
            self._expect()

    def on_headers_complete(self) -> None:
        """Stop counting the bytes of headers."""
        self._in_headers = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Cancel the deadline of the request, which is complete."""
        self._arrived()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Cancel the deadline of the request; a WebSocket has its own."""
        self._arrived()
        super().handle_websocket_upgrade()

    @classmethod
    def within(cls, request_seconds: float, send_seconds: float) -> type[PatientProtocol]:
        """Return this protocol with other deadlines, in seconds."""
        deadlines = {"request_seconds": request_seconds, "send_seconds": send_seconds}
        return type(cls.__name__, (cls,), deadlines)

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
            # A request whose response has begun, such as a 401, gets no second one.
            transport.write(answer)
        transport.close()


class PatientSocket(_PatientWriter, WebSocketsSansIOProtocol):
    """Aborts WebSockets whose client does not read."""

    @classmethod
    def within(cls, send_seconds: float) -> type[PatientSocket]:
        """Return this protocol with other deadlines, in seconds."""
        return type(cls.__name__, (cls,), {"send_seconds": send_seconds})
