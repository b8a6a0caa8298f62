"""The server: connections, answers as their replies describe them, and a record of the requests."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Literal, Self, cast

from tests.support.deadline import DEADLINE
from tests.support.model_server.completions import Completion, error_body
from tests.support.model_server.http import (
    BadRequestError,
    HttpRequest,
    Parser,
    decode_body,
    http_chunk,
    json_headers,
    response_head,
)
from tests.support.model_server.replies import Gate, ModelRequest, Outcome, Reply, encoded_json
from tests.support.model_server.scripts import ReplyLike, as_script, default_script

_GATE_POLL_SECONDS = 0.001
_GARBAGE = b"data: {this is not JSON\n\n"
_LAST_CHUNK = b"0\r\n\r\n"
_logger = logging.getLogger(__name__)


class _Connection(asyncio.Protocol):
    """One client connection: one answer at a time, by a task that is cancelled when the client
    leaves.
    """

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = Parser()
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self._request: ModelRequest | None = None
        self._pieces, self._last = 0, False
        self.task: asyncio.Task[None] | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # High water mark 0: a write that does not fit into the kernel pauses us: "sent" is "in the
        # kernel".
        self._transport.set_write_buffer_limits(high=0)
        self._transport.get_extra_info("socket").setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )
        self._server.connected(self)

    def data_received(self, data: bytes) -> None:
        self._parser.feed(data)
        self._next()

    def eof_received(self) -> None:
        self.leave("closed_by_client")

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave("closed_by_client")
        self.closed.set_result(None)
        self._server.disconnected(self)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._handed_over()
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # Called by the answer.

    async def send(self, data: bytes, *, pieces: int = 0, last: bool = False) -> None:
        """Write; return, and count the pieces and the completion, in the moment when all is in the
        kernel.
        """
        self._pieces, self._last = pieces, last
        self._transport.write(data)
        if not self._paused and not self._transport.is_closing():
            self._handed_over()
            return
        # A broken connection ends this wait too: connection_lost() cancels the task.
        self._drained = self._loop.create_future()
        await self._drained

    def _handed_over(self) -> None:
        """Record that the last write is in the kernel."""
        if self._request is not None and self._pieces:
            self._request.note_sent(self._pieces)
        if self._request is not None and self._last:
            self._request.end("completed")
        self._pieces, self._last = 0, False

    async def cut(self, how: Literal["rst", "close"]) -> None:
        """Cut the connection; does not return, for the task ends with the connection."""
        if self._request is not None:
            self._request.end("cut")
        if how == "rst":
            linger = struct.pack("ii", 1, 0)
            self._transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, linger
            )
        self._transport.abort()
        await self._loop.create_future()

    # Called by the server, or from within.

    def leave(self, outcome: Outcome) -> None:
        """End the connection and the answer in progress, with this outcome unless it has one."""
        if self._request is not None:
            self._request.end(outcome)
        if self.task is not None:
            self.task.cancel()
        self._transport.abort()

    def _next(self) -> None:
        """Start to answer the next complete request, if there is one and nothing is being answered."""
        if self.task is not None or self._transport.is_closing():
            return
        try:
            http = self._parser.next()
        except BadRequestError as error:
            self._refuse(error)
            return
        if self._parser.awaits_continue:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if http is None:
            return
        self._request, answer = self._server.accept(http)
        self.task = self._loop.create_task(answer.run(self), name=f"model-server-{http.path}")
        self.task.add_done_callback(partial(self._done, http.close))

    def _done(self, close: bool, task: asyncio.Task[None]) -> None:
        self.task = None
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self._server.script_errors.append(error)
            self.leave("closed_by_server")
        elif close:
            self._transport.close()
        else:
            self._next()

    def _refuse(self, error: BadRequestError) -> None:
        body = error_body(error.status, str(error))
        head = response_head(error.status, json_headers(body) | {"connection": "close"})
        self._transport.write(head + body)
        self._transport.close()


class _Plain:
    """A complete JSON answer without a script: the model list, and refusals."""

    def __init__(self, request: ModelRequest, status: int, body: bytes) -> None:
        self._answer = response_head(status, json_headers(body)) + body
        request.status = status

    async def run(self, connection: _Connection) -> None:
        """Send the answer."""
        await connection.send(self._answer, last=True)


class _Scripted:
    """The answer that a reply describes."""

    def __init__(
        self, request: ModelRequest, reply: Reply, completion_id: str, poll_gates: bool
    ) -> None:
        self._request, self._reply, self._poll_gates = request, reply, poll_gates
        self._completion = Completion(request, reply, completion_id)
        self._headers = {"x-request-id": f"req_{completion_id.removeprefix('chatcmpl-')}"}
        self._due = 0.0
        request.status = reply.status

    async def run(self, connection: _Connection) -> None:
        """Send the answer; returns when it is complete, and is cancelled when the connection ends
        before.
        """
        self._connection = connection
        if self._reply.first_delay:
            await asyncio.sleep(self._reply.first_delay)
        await self._at(-1)
        if self._reply.raw is not None:
            await self._raw(self._reply.raw)
        elif self._reply.status == 200 and self._request.stream:
            await self._stream()
        else:
            await self._whole()

    async def _stream(self) -> None:
        completion = self._completion
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        head = self._head(headers | {"transfer-encoding": "chunked"})
        await self._connection.send(head + http_chunk(completion.role()))
        for start, stop in self._reply.segments(len(completion.deltas)):
            await self._at(start)
            await self._pace(start)
            await self._connection.send(
                http_chunk(completion.pieces(start, stop)), pieces=stop - start
            )
        await self._at(len(completion.deltas))
        await self._tail([] if self._reply.end_without_finish else completion.tail())

    async def _raw(self, pieces: Sequence[bytes]) -> None:
        """Send a body as it is given."""
        await self._connection.send(
            self._head({"content-type": self._reply.content_type, "transfer-encoding": "chunked"})
        )
        for start, piece in enumerate(pieces):
            await self._pace(start)
            await self._connection.send(http_chunk(piece))
        while self._reply.raw_forever:
            await self._pace(1)
            await self._connection.send(http_chunk(self._reply.raw_forever))
        await self._connection.send(_LAST_CHUNK, last=True)

    async def _tail(self, events: list[bytes]) -> None:
        """Send the last events, the very last together with the end of the body."""
        if self._reply.burst:
            events = [b"".join(events)] if events else []
        for event in events[:-1]:
            await self._connection.send(http_chunk(event))
        await self._connection.send(b"".join(map(http_chunk, events[-1:])) + _LAST_CHUNK, last=True)

    async def _whole(self) -> None:
        """Send an answer or an error with a Content-Length."""
        reply, pieces = (
            self._reply,
            len(self._completion.deltas) if self._reply.status == 200 else 0,
        )
        body = (
            self._completion.whole()
            if reply.status == 200
            else error_body(reply.status, reply.error)
        )
        body = body if reply.garbage_after is None else _GARBAGE
        if pieces and reply.delay and not reply.burst:
            await asyncio.sleep(reply.delay * (pieces - 1))
        if reply.gate is not None and reply.gate_at >= 0:
            await self._wait_for(reply.gate)
        if reply.hang_after is not None:
            await self._hang()
        head = self._head(json_headers(body))
        if reply.fail_after is not None:
            await self._connection.send(head + body[: len(body) // 2])
            await self._connection.cut(reply.cut)
        await self._connection.send(head + body, pieces=pieces, last=True)

    def _head(self, headers: Mapping[str, str]) -> bytes:
        given = {name.lower(): value for name, value in self._reply.headers.items()}
        return response_head(self._reply.status, {**headers, **self._headers, **given})

    async def _at(self, position: int) -> None:
        """Do what the reply wants at this position."""
        reply = self._reply
        if reply.gate is not None and reply.gate_at == position:
            await self._wait_for(reply.gate)
        if reply.garbage_after == position >= 0:
            await self._connection.send(http_chunk(_GARBAGE))
        if reply.hang_after == position:
            await self._hang()
        if reply.fail_after == position:
            await self._connection.cut(reply.cut)

    async def _pace(self, start: int) -> None:
        """Wait until the next piece is due; always let the loop run, so that a leaving client is
        noticed.

        The due times are a schedule, so timer rounding does not add up; a stall is not caught up.
        """
        now = asyncio.get_running_loop().time()
        delay = self._reply.delay if start and not self._reply.burst else 0.0
        self._due = max(self._due + delay, now)
        await asyncio.sleep(self._due - now)

    async def _wait_for(self, gate: Gate) -> None:
        """Wait until the gate is set; an event of another thread or loop is polled every
        millisecond.
        """
        if isinstance(gate, asyncio.Event) and not self._poll_gates:
            await gate.wait()
            return
        while not gate.is_set():
            await asyncio.sleep(_GATE_POLL_SECONDS)

    async def _hang(self) -> None:
        """Wait for the client to leave, which cancels the task."""
        await asyncio.get_running_loop().create_future()


class ModelServer:
    """The server, as an async context manager; all of it runs on the event loop that enters it.

    requests: the well-formed chat-completion requests in order of arrival, each with its outcome.
    other_requests: everything else that was parsed (``GET /v1/models``, unknown paths, invalid
    bodies). script_errors: exceptions that the script raised. connections_total: connections
    accepted so far; ``connections_open``: those that are open now.
    """

    def __init__(
        self,
        script: ReplyLike = default_script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: Sequence[str] = ("gpt-4o-mini",),
        poll_gates: bool = False,
    ) -> None:
        """Prepare; ``port`` 0 takes a free one. ``poll_gates``: gates are set by other threads or
        loops.
        """
        self.requests: list[ModelRequest] = []
        self.other_requests: list[ModelRequest] = []
        self.script_errors: list[BaseException] = []
        self.connections_total = 0
        self._script = as_script(script)
        self._host, self._port, self._models, self._poll_gates = (
            host,
            port,
            tuple(models),
            poll_gates,
        )
        self._nonce = secrets.token_hex(6)
        self._started = int(time.time())
        self._server: asyncio.Server | None = None
        self._stopping = False
        self._connections: set[_Connection] = set()
        self._waiters: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def __aenter__(self) -> Self:
        """Start."""
        return await self.start()

    async def __aexit__(self, *exc_info: object) -> None:
        """Stop."""
        await self.stop()

    @property
    def port(self) -> int:
        """The port, known once the server has started."""
        return self._port

    @property
    def base_url(self) -> str:
        """The URL for ``OPENAI_BASE_URL``: "http://127.0.0.1:PORT/v1"."""
        return f"http://{self._host}:{self._port}/v1"

    @property
    def connections_open(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    def set_script(self, script: ReplyLike) -> None:
        """Use another script from the next request on; answers in progress go on. Safe from any
        thread.
        """
        self._script = as_script(script)

    async def start(self) -> Self:
        """Listen; after ``stop`` on the same port again. Nothing happens when it listens already."""
        if self._server is None:
            self._stopping = False
            loop = asyncio.get_running_loop()
            make = partial(_Connection, self)
            self._server = await loop.create_server(make, self._host, self._port, backlog=4096)
            self._port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Stop listening, drop all connections, and wait until no task or socket is left. May be
        repeated.
        """
        server, self._server = self._server, None
        if server is None:
            return
        self._stopping = True
        server.close()
        for _ in range(
            3
        ):  # the turns that asyncio takes to hand over a connection that it has just accepted
            await asyncio.sleep(0)
        connections = list(self._connections)
        tasks = [connection.task for connection in connections if connection.task is not None]
        for connection in connections:
            connection.leave("closed_by_server")
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.closed for connection in connections))
        await server.wait_closed()

    async def wait_until(self, predicate: Callable[[], bool], timeout: float = DEADLINE) -> None:
        """Wait until the predicate holds; it is tried whenever a request or a connection changes.

        Raises TimeoutError after ``timeout`` seconds.
        """
        if predicate():
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[waiter] = predicate
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError:
            raise TimeoutError(f"not within {timeout} s; requests: {self.requests}") from None
        finally:
            del self._waiters[waiter]

    async def wait_requests(self, count: int, timeout: float = DEADLINE) -> list[ModelRequest]:
        """Wait until so many chat requests have arrived, and return all of them."""
        await self.wait_until(lambda: len(self.requests) >= count, timeout)
        return list(self.requests)

    async def wait_ended(self, number: int, timeout: float = DEADLINE) -> ModelRequest:
        """Wait until request ``number`` (from 0) has arrived and ended, and return it."""
        await self.wait_until(
            lambda: len(self.requests) > number and self.requests[number].ended, timeout
        )
        return self.requests[number]

    # Called by connections.

    def connected(self, connection: _Connection) -> None:
        """Note a new connection."""
        self.connections_total += 1
        self._connections.add(connection)
        if self._stopping:
            connection.leave("closed_by_server")
        self._changed()

    def disconnected(self, connection: _Connection) -> None:
        """Forget a connection that is closed."""
        self._connections.discard(connection)
        self._changed()

    def accept(self, http: HttpRequest) -> tuple[ModelRequest, _Plain | _Scripted]:
        """Record a request and decide its answer."""
        body, problem = decode_body(http) if http.path == "/v1/chat/completions" else ({}, "")
        chat = http.path == "/v1/chat/completions" and not problem
        records = self.requests if chat else self.other_requests
        request = ModelRequest(
            len(records), http.method, http.path, http.headers, body, changed=self._changed
        )
        records.append(request)
        self._changed()
        if chat:
            return request, self._scripted(request)
        if problem:
            return request, _Plain(request, 400, error_body(400, problem))
        return request, self._unscripted(request)

    def _scripted(self, request: ModelRequest) -> _Scripted:
        completion_id = f"chatcmpl-{self._nonce}{request.number:06d}"
        try:
            return _Scripted(request, self._script(request), completion_id, self._poll_gates)
        except Exception as error:
            _logger.exception("the script of the model server failed")
            self.script_errors.append(error)
            reply = Reply(
                status=500, error=f"script: {error!r}", headers={"x-should-retry": "false"}
            )
            return _Scripted(request, reply, completion_id, self._poll_gates)

    def _unscripted(self, request: ModelRequest) -> _Plain:
        models = [
            {"id": name, "object": "model", "created": self._started, "owned_by": "model-server"}
            for name in self._models
        ]
        if (request.method, request.path) == ("GET", "/v1/models"):
            return _Plain(request, 200, encoded_json({"object": "list", "data": models}))
        for model in models:
            if (request.method, request.path) == ("GET", f"/v1/models/{model['id']}"):
                return _Plain(request, 200, encoded_json(model))
        message = f"Unknown request: {request.method} {request.path}"
        return _Plain(request, 404, error_body(404, message))

    def _changed(self) -> None:
        """Wake those whose predicate holds now."""
        for waiter, predicate in list(self._waiters.items()):
            try:
                if not waiter.done() and predicate():
                    waiter.set_result(None)
            except Exception as error:
                waiter.set_exception(error)
