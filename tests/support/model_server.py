"""A small, exact stand-in for the OpenAI chat-completions API on loopback, for tests and benchmarks.

Standard library only. It answers ``POST /v1/chat/completions`` (SSE and whole), ``GET /v1/models`` and
``GET /v1/models/{id}`` over HTTP/1.1 with keep-alive, does what a *script* says, and records what happened::

    async with ModelServer(by_turn([Reply(status=429, headers={"retry-after": "0"}), "Hello"])) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="any")
        ...
        assert server.requests[1].completed

A script is a plain function ``(ModelRequest) -> Reply``; it runs on the server's event loop, so it must not
block. Wherever a script is accepted, so is a ``Reply`` or a ``str`` (a reply's text), given to every request.
A script that raises is answered with a 500 that clients do not retry; see ``server.script_errors``.

Words used throughout:

* A *piece* ("chunk" in the names of the options, "token" in ``tokens_sent``) is one delta with content: each
  item of ``reasoning``, then each item of ``chunks``, then for each tool call one header and its argument
  fragments (16 characters each). The delta with the role, the one with the finish reason, and the usage chunk
  are not pieces.
* A *position* k (``gate_at``, ``fail_after``, ``garbage_after``, ``hang_after``) lies after k pieces: 0 is
  after the response head and the role but before the first piece, -1 is before the response head, and the
  number of pieces is after the last one, before the finish reason. A position beyond that is never reached.
  A whole (not streamed) or an error answer knows only -1 and "any other".
* All durations are seconds. ``received_at``, ``first_token_at`` and ``ended_at`` are ``time.monotonic()``
  values, comparable between the processes of one Linux host.

As a process: ``python -m tests.support.model_server --port 0 --tokens 200 --delay-ms 10`` (or by the file's
path) prints the base URL as its first line, and ends cleanly on SIGTERM or SIGINT.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import math
import re
import secrets
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from http import HTTPStatus
from typing import Any, Literal, Protocol, Self, TypeAlias, cast

JsonObject: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Literal["open", "completed", "closed_by_client", "cut", "closed_by_server"]

_logger = logging.getLogger(__name__)

_BURST_PIECES = 512
_ARGUMENT_FRAGMENT = 16
_PATIENCE_SECONDS = 60.0  # as in tests.support.deadline, which a file that runs by itself cannot import
_GATE_POLL_SECONDS = 0.001
_MAX_HEAD_BYTES = 65_536
_MAX_SCHEMA_DEPTH = 12
_GARBAGE = b"data: {this is not JSON\n\n"
_LAST_CHUNK = b"0\r\n\r\n"


class Gate(Protocol):
    """What can hold a stream: ``asyncio.Event``, ``threading.Event``, or anything with ``is_set()``."""

    def is_set(self) -> bool:
        """Say whether the stream may go on."""


# -------------------------------------------------------------------------------------------------- replies


@dataclass(frozen=True)
class Reply:
    """What to answer to one request. Never changed by the server, so one object may serve many requests.

    text: the answer; it is cut into one piece per word (white space stays with the word before it).
    chunks: the answer as given pieces, instead of ``text``.
    reasoning: pieces sent as ``reasoning_content`` before the answer.
    tool_calls: ``{"name": str, "arguments": dict | str}``, optionally ``"id"``; sent after the answer.
    finish_reason: instead of "stop" ("tool_calls" when there are tool calls).
    usage: the ``usage`` object; by default counted in words. Streamed only if the request asks for it.
    status, headers, error: a status other than 200 answers ``{"error": {...}}`` in OpenAI's shape; ``error``
        is the message, or fields that replace the default ones. ``headers`` (Retry-After) go with any answer.
    first_delay: seconds before the response head.
    delay: seconds between two pieces (a whole answer waits for their sum).
    burst: send the pieces in few large writes, ignoring ``delay``; for throughput.
    gate, gate_at: at position ``gate_at`` wait until the gate is set (or the client leaves).
    garbage_after: at this position send a data line that is not JSON, then go on; a whole answer is replaced.
    hang_after: at this position stop sending, but keep the connection until the client leaves.
    fail_after, cut: at this position cut the TCP connection, by a reset ("rst") or by a plain close in the
        middle of the body ("close"). A reset can overtake bytes that a slow client has no room for; "close"
        loses none. A whole answer is cut after half of its body.
    end_without_finish: end the body cleanly after the pieces: no finish reason, no usage, no ``[DONE]``.
    If several of these share a position the order is: gate, garbage, hang, cut.
    """

    text: str = ""
    chunks: Sequence[str] | None = None
    reasoning: Sequence[str] = ()
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | Mapping[str, Any] | None = None
    first_delay: float = 0.0
    delay: float = 0.0
    burst: bool = False
    gate: Gate | None = None
    gate_at: int = 0
    garbage_after: int | None = None
    hang_after: int | None = None
    fail_after: int | None = None
    cut: Literal["rst", "close"] = "rst"
    end_without_finish: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.text and self.chunks is not None:
            raise ValueError("give text or chunks, not both")
        if self.cut not in ("rst", "close"):
            raise ValueError(f'cut is "rst" or "close", not {self.cut!r}')

    @cached_property
    def content_pieces(self) -> list[str]:
        """The answer in the pieces that are sent; joined they are the answer, exactly."""
        return re.findall(r"\S+\s*|\s+", self.text) if self.chunks is None else list(self.chunks)

    @cached_property
    def content(self) -> str:
        """The whole answer."""
        return "".join(self.content_pieces)

    @cached_property
    def encoded_text(self) -> list[bytes]:
        """The encoded ``delta`` objects of reasoning and answer, computed once per reply."""
        reasoning = [_json({"reasoning_content": piece}) for piece in self.reasoning]
        return reasoning + [_json({"content": piece}) for piece in self.content_pieces]

    @property
    def positions(self) -> set[int]:
        """The positions at which something other than sending happens."""
        gate_at = self.gate_at if self.gate is not None else None
        found = (gate_at, self.garbage_after, self.hang_after, self.fail_after)
        return {position for position in found if position is not None}

    def segments(self, count: int) -> Iterator[tuple[int, int]]:
        """Divide ``count`` pieces into the half-open ranges that are sent in one write each."""
        size, stops, start = _BURST_PIECES if self.burst else 1, self.positions, 0
        while start < count:
            stop = min(start + size, count, *(position for position in stops if position > start))
            yield start, stop
            start = stop


# ------------------------------------------------------------------------------------------------- requests


@dataclass(eq=False)
class ModelRequest:
    """One received request and what became of its answer; scripts get it, and ``server.requests`` keeps it.

    number: position in ``server.requests``, from 0, in order of arrival.
    method, path, headers (names in lower case), body (decoded JSON object): as received.
    received_at: monotonic seconds. received_time: seconds since the epoch.
    status: HTTP status of the answer, None until the answer is chosen.
    tokens_sent: pieces handed to the kernel in full.
    first_token_at, ended_at: monotonic seconds, None before.
    outcome: "open"; "completed" (the whole scripted answer was handed to the kernel and the body ended
        cleanly, also for errors and ``end_without_finish``); "closed_by_client" (it left before that); "cut"
        (the script cut it); "closed_by_server" (the server stopped).
    """

    number: int
    method: str
    path: str
    headers: Mapping[str, str]
    body: JsonObject
    received_at: float = field(default_factory=time.monotonic)
    received_time: float = field(default_factory=time.time)
    status: int | None = None
    tokens_sent: int = 0
    first_token_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome = "open"
    changed: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def completed(self) -> bool:
        """Whether the whole scripted answer was sent."""
        return self.outcome == "completed"

    @property
    def closed_by_client(self) -> bool:
        """Whether the client left before the answer was complete."""
        return self.outcome == "closed_by_client"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to this request."""
        return self.outcome != "open"

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def stream(self) -> bool:
        """Whether a stream was asked for."""
        return bool(self.body.get("stream"))

    @property
    def include_usage(self) -> bool:
        """Whether a usage chunk was asked for."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def messages(self) -> list[JsonObject]:
        """The messages, oldest first."""
        return cast("list[JsonObject]", self.body.get("messages", []))

    @property
    def tools(self) -> list[JsonObject]:
        """The ``function`` objects of the offered tools."""
        return [tool["function"] for tool in self.body.get("tools") or [] if "function" in tool]

    @property
    def system(self) -> str:
        """The text of all system and developer messages, one per line."""
        return "\n".join(_text_of(m) for m in self.messages if m["role"] in ("system", "developer"))

    @property
    def last_user(self) -> str:
        """The text of the last user message, or ""."""
        return next((_text_of(m) for m in reversed(self.messages) if m["role"] == "user"), "")

    @property
    def json_schema(self) -> JsonObject | None:
        """The JSON schema that the answer must follow, if the request gives one."""
        wanted = self.body.get("response_format") or {}
        if wanted.get("type") == "json_object":
            return {"type": "object"}
        if wanted.get("type") == "json_schema":
            return cast("JsonObject", wanted["json_schema"].get("schema", {}))
        return None

    @property
    def forced_tool(self) -> JsonObject | None:
        """The ``function`` object of the tool that ``tool_choice`` forces (the first one for "required")."""
        choice = self.body.get("tool_choice")
        if choice == "required":
            return next(iter(self.tools), None)
        name = (choice.get("function") or {}).get("name") if isinstance(choice, dict) else None
        return next((tool for tool in self.tools if tool["name"] == name), None)

    def note_sent(self, pieces: int) -> None:
        """Record that so many more pieces were handed to the kernel."""
        if self.first_token_at is None:
            self.first_token_at = time.monotonic()
        self.tokens_sent += pieces
        self.changed()

    def end(self, outcome: Outcome) -> None:
        """Record the outcome; the first one stays."""
        if not self.ended:
            self.outcome, self.ended_at = outcome, time.monotonic()
            self.changed()


def _text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message whose content is a string, a list of parts, or absent."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))


# -------------------------------------------------------------------------------------------------- scripts

Script: TypeAlias = Callable[[ModelRequest], Reply]
ReplyLike: TypeAlias = Script | Reply | str


def as_script(reply: ReplyLike) -> Script:
    """Turn a reply or a text into the script that always gives it; return a script unchanged."""
    if isinstance(reply, str):
        reply = Reply(reply)
    if isinstance(reply, Reply):
        fixed = reply
        return lambda _request: fixed
    return reply


def structured_reply(request: ModelRequest) -> Reply | None:
    """Return the minimal valid answer if the request forces a tool call or a JSON answer, else None."""
    tool = request.forced_tool
    if tool is not None:
        arguments = minimal_instance(tool.get("parameters") or {"type": "object"})
        return Reply(tool_calls=[{"name": tool["name"], "arguments": arguments}])
    schema = request.json_schema
    return None if schema is None else Reply(_json(minimal_instance(schema)).decode())


def default_script(request: ModelRequest) -> Reply:
    """Answer forced tool calls and schemas minimally, and everything else with the last user message."""
    return structured_reply(request) or Reply(f"You said: {request.last_user}")


def by_turn(replies: Sequence[ReplyLike], *, repeat_last: bool = False) -> Script:
    """Give the n-th request that reaches this script the n-th reply.

    A request too many is an error of the script (a 500), unless ``repeat_last``. Retries of a client count.
    """
    scripts, turns = [as_script(reply) for reply in replies], 0

    def script(request: ModelRequest) -> Reply:
        nonlocal turns
        turn, turns = turns, turns + 1
        if turn >= len(scripts) and not repeat_last:
            raise IndexError(f"by_turn has {len(scripts)} replies, this is request {turn + 1}")
        return scripts[min(turn, len(scripts) - 1)](request)

    return script


def by_agent(replies: Mapping[str, ReplyLike], default: ReplyLike = default_script) -> Script:
    """Choose by the first key that occurs in the system (or developer) prompt, ``default`` if none does."""
    scripts, otherwise = {key: as_script(reply) for key, reply in replies.items()}, as_script(default)

    def script(request: ModelRequest) -> Reply:
        system = request.system
        return next((found for key, found in scripts.items() if key in system), otherwise)(request)

    return script


def minimal_instance(schema: Mapping[str, Any]) -> Any:
    """Return a small JSON value that is valid under a JSON schema.

    Only required properties, the first enum value or alternative, the fewest items, the number closest to 0.
    Follows ``$ref`` inside the document; does not solve ``pattern``, ``not`` and ``uniqueItems``.
    """
    return _Instance(schema).of(schema, 0)


_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.org",
    "hostname": "example.org",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org/",
}


class _Instance:
    """Builds the minimal instance of schemas that may refer into one root document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def of(self, schema: Mapping[str, Any] | bool, depth: int) -> Any:
        if isinstance(schema, bool):
            return ""
        if depth > 200:
            raise ValueError("the schema requires an infinite value")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if "$ref" in schema:
            return self.of(self._resolve(schema["$ref"]), depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.of(self._choose(schema[key], depth), depth + 1)
        return self._typed(schema, depth)

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return cast("Mapping[str, Any]", found)

    def _choose(self, options: Sequence[Mapping[str, Any]], depth: int) -> Mapping[str, Any]:
        """Take the first alternative, but null (or the last one) when the schema is recursive."""
        if depth <= _MAX_SCHEMA_DEPTH:
            return options[0]
        return next((option for option in options if option.get("type") == "null"), options[-1])

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = _type_of(schema)
        if kind == "object" or "allOf" in schema:
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _minimal_number(schema, kind == "integer")
        if kind == "string":
            return str(_FORMATS.get(schema.get("format", ""), "")).ljust(schema.get("minLength", 0), "x")
        return False if kind == "boolean" else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> Any:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        instance = {name: self.of(properties.get(name, True), depth + 1) for name in required}
        for part in schema.get("allOf", ()):
            value = self.of(part, depth + 1)
            if not isinstance(value, dict):
                return value
            instance |= value
        return instance

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        count, given = schema.get("minItems", 0), list(schema.get("prefixItems", ()))
        items = given + [schema.get("items", True)] * (count - len(given))
        return [self.of(item, depth + 1) for item in items[:count]]


def _type_of(schema: Mapping[str, Any]) -> str:
    """Return the (first) type of a schema; guess it from its keywords if it has none."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if kind:
        return str(kind[0])
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _minimal_number(schema: Mapping[str, Any], whole: bool) -> float:
    """Return 0 or else a number near a bound that keeps all bounds."""
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low))
    up, down = math.ceil(low / step) * step, math.floor(high / step) * step
    candidates = (0, up, up + step, down, down - step, low, (low + high) / 2)
    value = next((found for found in candidates if _within(found, schema)), low)
    return int(value) if whole else value


def _within(value: float, schema: Mapping[str, Any]) -> bool:
    """Say whether a number keeps the bounds of a schema."""
    inside = schema.get("minimum", value) <= value <= schema.get("maximum", value)
    below, above = schema.get("exclusiveMinimum", -math.inf), schema.get("exclusiveMaximum", math.inf)
    return bool(inside and below < value < above)


# --------------------------------------------------------------------------------------------- HTTP parsing


class _BadRequestError(Exception):
    """A request that cannot be parsed; the connection ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class _HttpRequest:
    """One parsed request; ``headers`` has names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def close(self) -> bool:
        return "close" in self.headers.get("connection", "").lower()


class _Parser:
    """Incremental HTTP/1.1 request parser: ``feed`` bytes, take requests from ``next``."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: _HttpRequest | None = None

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it reads "100 Continue"; True once per request."""
        head = self._head
        return head is not None and head.headers.pop("expect", "").lower() == "100-continue"

    def next(self) -> _HttpRequest | None:
        """Return the next complete request, or None if more bytes are needed."""
        if self._head is None:
            self._head = self._take_head()
        if self._head is None:
            return None
        body = self._take_body(self._head)
        if body is None:
            return None
        request, self._head = self._head, None
        request.body = body
        return request

    def _take_head(self) -> _HttpRequest | None:
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > _MAX_HEAD_BYTES:
            raise _BadRequestError(431, "request head too large")
        if end < 0:
            return None
        head = bytes(self._buffer[:end]).decode("latin-1").lstrip("\r\n")
        del self._buffer[: end + 4]
        return _parse_head(head)

    def _take_body(self, head: _HttpRequest) -> bytes | None:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._take_chunked()
        length = head.headers.get("content-length", "0")
        if not length.isdecimal():
            raise _BadRequestError(400, "bad content-length")
        return self._take(int(length)) if len(self._buffer) >= int(length) else None

    def _take_chunked(self) -> bytes | None:
        """Decode a chunked body once all of it is there (trailers are dropped)."""
        body, at = bytearray(), 0
        while (line := self._buffer.find(b"\r\n", at)) >= 0:
            size = _chunk_size(bytes(self._buffer[at:line]))
            if size == 0:
                end = self._buffer.find(b"\r\n\r\n", line)
                if end < 0:
                    return None
                self._take(end + 4)
                return bytes(body)
            body += self._buffer[line + 2 : line + 2 + size]
            at = line + 2 + size + 2
        return None

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def _chunk_size(line: bytes) -> int:
    """Parse the size line of a chunk; extensions are ignored."""
    digits = line.partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]+", digits):
        raise _BadRequestError(400, "bad chunk size")
    return int(digits, 16)


def _parse_head(head: str) -> _HttpRequest:
    """Parse the request line and the header lines."""
    first, *lines = head.split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3:
        raise _BadRequestError(400, "bad request line")
    if parts[2] != "HTTP/1.1":
        raise _BadRequestError(505, "only HTTP/1.1 is spoken here")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise _BadRequestError(400, "bad header line")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return _HttpRequest(parts[0], parts[1].partition("?")[0], headers)


# ------------------------------------------------------------------------------------------------- encoding


def _json(value: Any) -> bytes:
    """Encode compactly, as UTF-8; with escapes only where a lone surrogate requires them."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _http_chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def _event(value: Any) -> bytes:
    """Encode a JSON value as one server-sent event."""
    return b"data: " + _json(value) + b"\n\n"


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    """Encode a response head."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _json_headers(body: bytes) -> dict[str, str]:
    """Return the headers of a JSON answer with a known length."""
    return {"content-type": "application/json", "content-length": str(len(body))}


_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to do this."),
    404: ("invalid_request_error", "not_found", "Not found."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}


def _error_body(status: int, error: str | Mapping[str, Any] | None) -> bytes:
    """Encode an error in OpenAI's shape: ``{"error": {"message", "type", "param", "code"}}``."""
    kind, code, message = _ERRORS.get(status, _ERRORS[400 if status < 500 else 500])
    fields: JsonObject = {"message": message, "type": kind, "param": None, "code": code}
    fields |= {"message": error} if isinstance(error, str) else dict(error or {})
    return _json({"error": fields})


def _arguments(call: Mapping[str, Any]) -> str:
    """Return the arguments of a tool call as the JSON text that goes over the wire."""
    arguments = call.get("arguments", {})
    return arguments if isinstance(arguments, str) else _json(arguments).decode()


def _usage(request: ModelRequest, reply: Reply) -> JsonObject:
    """Return the scripted usage, or one that counts words."""
    if reply.usage is not None:
        return dict(reply.usage)
    thought = len("".join(reply.reasoning).split())
    said = len(reply.content.split()) + sum(len(_arguments(call).split()) for call in reply.tool_calls)
    asked = sum(len(_text_of(message).split()) for message in request.messages)
    return {
        "prompt_tokens": asked,
        "completion_tokens": said + thought,
        "total_tokens": asked + said + thought,
        "completion_tokens_details": {"reasoning_tokens": thought},
    }


class _Completion:
    """The encoded parts of the answer to one request; everything that can fail in a reply fails here."""

    def __init__(self, request: ModelRequest, reply: Reply, completion_id: str) -> None:
        self._request, self._reply, self._id = request, reply, completion_id
        self._created = int(request.received_time)
        self._usage = _usage(request, reply)
        self.deltas = reply.encoded_text + self._tool_deltas() if reply.tool_calls else reply.encoded_text
        start, end = self._chunk({"delta": 0, "logprobs": None, "finish_reason": None}).split(b'"delta":0', 1)
        self._start, self._end = start + b'"delta":', end

    def role(self) -> bytes:
        """Encode the first event."""
        content = "" if self._reply.content_pieces or not self._reply.tool_calls else None
        return self._start + _json({"role": "assistant", "content": content, "refusal": None}) + self._end

    def pieces(self, start: int, stop: int) -> bytes:
        """Encode the events of pieces ``start`` to ``stop``."""
        return self._start + (self._end + self._start).join(self.deltas[start:stop]) + self._end

    def tail(self) -> list[bytes]:
        """Encode the events after the pieces: finish reason, usage if asked for, ``[DONE]``."""
        events = [self._chunk({"delta": {}, "logprobs": None, "finish_reason": self._finish_reason})]
        if self._request.include_usage:
            events.append(_event(self._base("chat.completion.chunk") | {"choices": [], "usage": self._usage}))
        return [*events, b"data: [DONE]\n\n"]

    def whole(self) -> bytes:
        """Encode the answer to a request that did not ask for a stream."""
        reply = self._reply
        content = None if reply.tool_calls and not reply.content else reply.content
        message: JsonObject = {"role": "assistant", "content": content, "refusal": None}
        if reply.reasoning:
            message["reasoning_content"] = "".join(reply.reasoning)
        if reply.tool_calls:
            message["tool_calls"] = [self._tool_call(i, call) for i, call in enumerate(reply.tool_calls)]
        finish = None if reply.end_without_finish else self._finish_reason
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return _json(self._base("chat.completion") | {"choices": [choice], "usage": self._usage})

    @property
    def _finish_reason(self) -> str:
        return self._reply.finish_reason or ("tool_calls" if self._reply.tool_calls else "stop")

    def _base(self, kind: str) -> JsonObject:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self._request.model,
            "system_fingerprint": None,
        }

    def _chunk(self, choice: JsonObject) -> bytes:
        value = self._base("chat.completion.chunk") | {"choices": [{"index": 0} | choice]}
        return _event(value | {"usage": None} if self._request.include_usage else value)

    def _tool_call(self, index: int, call: Mapping[str, Any]) -> JsonObject:
        call_id = call.get("id") or f"call_{self._id.removeprefix('chatcmpl-')}_{index}"
        return {
            "id": call_id,
            "type": "function",
            "function": {"name": call["name"], "arguments": _arguments(call)},
        }

    def _tool_deltas(self) -> list[bytes]:
        deltas: list[JsonObject] = []
        for index, given in enumerate(self._reply.tool_calls):
            call = self._tool_call(index, given)
            arguments, call["function"]["arguments"] = call["function"]["arguments"], ""
            deltas.append({"index": index} | call)
            for at in range(0, len(arguments), _ARGUMENT_FRAGMENT):
                fragment = arguments[at : at + _ARGUMENT_FRAGMENT]
                deltas.append({"index": index, "function": {"arguments": fragment}})
        return [_json({"tool_calls": [delta]}) for delta in deltas]


# -------------------------------------------------------------------------------------------------- serving


class _Connection(asyncio.Protocol):
    """One client connection: one answer at a time, by a task that is cancelled when the client leaves."""

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self._loop = asyncio.get_running_loop()
        self._parser = _Parser()
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self._request: ModelRequest | None = None
        self._pieces, self._last = 0, False
        self.task: asyncio.Task[None] | None = None
        self.closed: asyncio.Future[None] = self._loop.create_future()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        # High water mark 0: a write that does not fit into the kernel pauses us: "sent" is "in the kernel".
        self._transport.set_write_buffer_limits(high=0)
        self._transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
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
        """Write; return, and count the pieces and the completion, in the moment when all is in the kernel."""
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
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
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
        except _BadRequestError as error:
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

    def _refuse(self, error: _BadRequestError) -> None:
        body = _error_body(error.status, str(error))
        head = _head(error.status, _json_headers(body) | {"connection": "close"})
        self._transport.write(head + body)
        self._transport.close()


class _Plain:
    """A complete JSON answer without a script: the model list, and refusals."""

    def __init__(self, request: ModelRequest, status: int, body: bytes) -> None:
        self._answer = _head(status, _json_headers(body)) + body
        request.status = status

    async def run(self, connection: _Connection) -> None:
        """Send the answer."""
        await connection.send(self._answer, last=True)


class _Scripted:
    """The answer that a reply describes."""

    def __init__(self, request: ModelRequest, reply: Reply, completion_id: str, poll_gates: bool) -> None:
        self._request, self._reply, self._poll_gates = request, reply, poll_gates
        self._completion = _Completion(request, reply, completion_id)
        self._headers = {"x-request-id": f"req_{completion_id.removeprefix('chatcmpl-')}"}
        self._due = 0.0
        request.status = reply.status

    async def run(self, connection: _Connection) -> None:
        """Send the answer; returns when it is complete, and is cancelled when the connection ends before."""
        self._connection = connection
        if self._reply.first_delay:
            await asyncio.sleep(self._reply.first_delay)
        await self._at(-1)
        if self._reply.status == 200 and self._request.stream:
            await self._stream()
        else:
            await self._whole()

    async def _stream(self) -> None:
        completion = self._completion
        headers = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        head = self._head(headers | {"transfer-encoding": "chunked"})
        await self._connection.send(head + _http_chunk(completion.role()))
        for start, stop in self._reply.segments(len(completion.deltas)):
            await self._at(start)
            await self._pace(start)
            await self._connection.send(_http_chunk(completion.pieces(start, stop)), pieces=stop - start)
        await self._at(len(completion.deltas))
        await self._tail([] if self._reply.end_without_finish else completion.tail())

    async def _tail(self, events: list[bytes]) -> None:
        """Send the last events, the very last together with the end of the body."""
        if self._reply.burst:
            events = [b"".join(events)] if events else []
        for event in events[:-1]:
            await self._connection.send(_http_chunk(event))
        await self._connection.send(b"".join(map(_http_chunk, events[-1:])) + _LAST_CHUNK, last=True)

    async def _whole(self) -> None:
        """Send an answer or an error with a Content-Length."""
        reply, pieces = self._reply, len(self._completion.deltas) if self._reply.status == 200 else 0
        body = self._completion.whole() if reply.status == 200 else _error_body(reply.status, reply.error)
        body = body if reply.garbage_after is None else _GARBAGE
        if pieces and reply.delay and not reply.burst:
            await asyncio.sleep(reply.delay * (pieces - 1))
        if reply.gate is not None and reply.gate_at >= 0:
            await self._wait_for(reply.gate)
        if reply.hang_after is not None:
            await self._hang()
        head = self._head(_json_headers(body))
        if reply.fail_after is not None:
            await self._connection.send(head + body[: len(body) // 2])
            await self._connection.cut(reply.cut)
        await self._connection.send(head + body, pieces=pieces, last=True)

    def _head(self, headers: Mapping[str, str]) -> bytes:
        given = {name.lower(): value for name, value in self._reply.headers.items()}
        return _head(self._reply.status, {**headers, **self._headers, **given})

    async def _at(self, position: int) -> None:
        """Do what the reply wants at this position."""
        reply = self._reply
        if reply.gate is not None and reply.gate_at == position:
            await self._wait_for(reply.gate)
        if reply.garbage_after == position >= 0:
            await self._connection.send(_http_chunk(_GARBAGE))
        if reply.hang_after == position:
            await self._hang()
        if reply.fail_after == position:
            await self._connection.cut(reply.cut)

    async def _pace(self, start: int) -> None:
        """Wait until the next piece is due; always let the loop run, so that a leaving client is noticed.

        The due times are a schedule, so timer rounding does not add up; a stall is not caught up.
        """
        now = asyncio.get_running_loop().time()
        delay = self._reply.delay if start and not self._reply.burst else 0.0
        self._due = max(self._due + delay, now)
        await asyncio.sleep(self._due - now)

    async def _wait_for(self, gate: Gate) -> None:
        """Wait until the gate is set; an event of another thread or loop is polled every millisecond."""
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
    other_requests: everything else that was parsed (``GET /v1/models``, unknown paths, invalid bodies).
    script_errors: exceptions that the script raised.
    connections_total: connections accepted so far; ``connections_open``: those that are open now.
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
        """Prepare; ``port`` 0 takes a free one. ``poll_gates``: gates are set by other threads or loops."""
        self.requests: list[ModelRequest] = []
        self.other_requests: list[ModelRequest] = []
        self.script_errors: list[BaseException] = []
        self.connections_total = 0
        self._script = as_script(script)
        self._host, self._port, self._models, self._poll_gates = host, port, tuple(models), poll_gates
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
        """Use another script from the next request on; answers in progress go on. Safe from any thread."""
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
        """Stop listening, drop all connections, and wait until no task or socket is left. May be repeated."""
        server, self._server = self._server, None
        if server is None:
            return
        self._stopping = True
        server.close()
        for _ in range(3):  # the turns that asyncio takes to hand over a connection that it has just accepted
            await asyncio.sleep(0)
        connections = list(self._connections)
        tasks = [connection.task for connection in connections if connection.task is not None]
        for connection in connections:
            connection.leave("closed_by_server")
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(connection.closed for connection in connections))
        await server.wait_closed()

    async def wait_until(self, predicate: Callable[[], bool], timeout: float = _PATIENCE_SECONDS) -> None:
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

    async def wait_requests(self, count: int, timeout: float = _PATIENCE_SECONDS) -> list[ModelRequest]:
        """Wait until so many chat requests have arrived, and return all of them."""
        await self.wait_until(lambda: len(self.requests) >= count, timeout)
        return list(self.requests)

    async def wait_ended(self, number: int, timeout: float = _PATIENCE_SECONDS) -> ModelRequest:
        """Wait until request ``number`` (from 0) has arrived and ended, and return it."""
        await self.wait_until(lambda: len(self.requests) > number and self.requests[number].ended, timeout)
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

    def accept(self, http: _HttpRequest) -> tuple[ModelRequest, _Plain | _Scripted]:
        """Record a request and decide its answer."""
        body, problem = _decode_body(http) if http.path == "/v1/chat/completions" else ({}, "")
        chat = http.path == "/v1/chat/completions" and not problem
        records = self.requests if chat else self.other_requests
        request = ModelRequest(len(records), http.method, http.path, http.headers, body, changed=self._changed)
        records.append(request)
        self._changed()
        if chat:
            return request, self._scripted(request)
        if problem:
            return request, _Plain(request, 400, _error_body(400, problem))
        return request, self._unscripted(request)

    def _scripted(self, request: ModelRequest) -> _Scripted:
        completion_id = f"chatcmpl-{self._nonce}{request.number:06d}"
        try:
            return _Scripted(request, self._script(request), completion_id, self._poll_gates)
        except Exception as error:
            _logger.exception("the script of the model server failed")
            self.script_errors.append(error)
            reply = Reply(status=500, error=f"script: {error!r}", headers={"x-should-retry": "false"})
            return _Scripted(request, reply, completion_id, self._poll_gates)

    def _unscripted(self, request: ModelRequest) -> _Plain:
        models = [
            {"id": name, "object": "model", "created": self._started, "owned_by": "model-server"}
            for name in self._models
        ]
        if (request.method, request.path) == ("GET", "/v1/models"):
            return _Plain(request, 200, _json({"object": "list", "data": models}))
        for model in models:
            if (request.method, request.path) == ("GET", f"/v1/models/{model['id']}"):
                return _Plain(request, 200, _json(model))
        message = f"Unknown request: {request.method} {request.path}"
        return _Plain(request, 404, _error_body(404, message))

    def _changed(self) -> None:
        """Wake those whose predicate holds now."""
        for waiter, predicate in list(self._waiters.items()):
            try:
                if not waiter.done() and predicate():
                    waiter.set_result(None)
            except Exception as error:
                waiter.set_exception(error)


def _decode_body(http: _HttpRequest) -> tuple[JsonObject, str]:
    """Decode the body of a chat request: (body, "") or (what could be decoded, what is wrong with it)."""
    if http.method != "POST":
        return {}, f"Not allowed: {http.method}"
    try:
        body = json.loads(http.body)
    except ValueError:
        return {}, "We could not parse the JSON body of your request."
    if not isinstance(body, dict):
        return {}, "The body must be a JSON object."
    if not isinstance(body.get("model"), str):
        return body, "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return body, "Missing required parameter: 'messages'."
    if not all(isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages):
        return body, "Invalid value in 'messages': each message is an object with a role."
    return body, ""


class ThreadedModelServer:
    """The same server for synchronous code: a context manager that runs its own event loop in a thread."""

    def __init__(
        self,
        script: ReplyLike = default_script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: Sequence[str] = ("gpt-4o-mini",),
    ) -> None:
        """Prepare; see ``ModelServer``. Gates may be set from any thread."""
        self.server = ModelServer(script, host=host, port=port, models=models, poll_gates=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        self.stop()

    @property
    def port(self) -> int:
        """The port, known once the server has started."""
        return self.server.port

    @property
    def base_url(self) -> str:
        """The URL for ``OPENAI_BASE_URL``: "http://127.0.0.1:PORT/v1"."""
        return self.server.base_url

    @property
    def requests(self) -> list[ModelRequest]:
        """The chat requests in order of arrival."""
        return self.server.requests

    @property
    def script_errors(self) -> list[BaseException]:
        """Exceptions that the script raised."""
        return self.server.script_errors

    def set_script(self, script: ReplyLike) -> None:
        """Use another script from the next request on."""
        self.server.set_script(script)

    def start(self) -> Self:
        """Start the thread and return when the server listens; an error there is raised here."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="model-server", daemon=True)
            self._thread.start()
            try:
                self._run(self.server.start())
            except BaseException:
                self._end()
                raise
        return self

    def stop(self) -> None:
        """Stop the server and its thread. May be repeated."""
        if self._loop is not None:
            try:
                self._run(self.server.stop())
            finally:
                self._end()

    def wait_until(self, predicate: Callable[[], bool], timeout: float = _PATIENCE_SECONDS) -> None:
        """Wait until the predicate, called in the server's thread, holds; raises TimeoutError."""
        self._run(self.server.wait_until(predicate, timeout))

    def wait_requests(self, count: int, timeout: float = _PATIENCE_SECONDS) -> list[ModelRequest]:
        """Wait until so many chat requests have arrived, and return all of them."""
        self.wait_until(lambda: len(self.requests) >= count, timeout)
        return list(self.requests)

    def wait_ended(self, number: int, timeout: float = _PATIENCE_SECONDS) -> ModelRequest:
        """Wait until request ``number`` (from 0) has arrived and ended, and return it."""
        self.wait_until(lambda: len(self.requests) > number and self.requests[number].ended, timeout)
        return self.requests[number]

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine in the server's thread and wait for its end."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the server is not running")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        """End the thread and its loop."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()


# --------------------------------------------------------------------------------------------- command line


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="An OpenAI chat-completions API on loopback, for tests.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument("--tokens", type=int, default=0, help="answer with so many tokens; 0: echo the user")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="milliseconds between two tokens")
    parser.add_argument("--first-delay-ms", type=float, default=0.0, help="milliseconds before the answer")
    parser.add_argument("--burst", action="store_true", help="few large writes, without delay")
    return parser


def _command_script(options: argparse.Namespace) -> Script:
    """Return the script for the command line; what is forced is answered minimally all the same."""
    pacing = {
        "first_delay": options.first_delay_ms / 1000,
        "delay": options.delay_ms / 1000,
        "burst": options.burst,
    }
    fixed = Reply(chunks=[f"token{i} " for i in range(options.tokens)], **pacing)

    def script(request: ModelRequest) -> Reply:
        answer = fixed if options.tokens else Reply(f"You said: {request.last_user}", **pacing)
        return structured_reply(request) or answer

    return script


async def _serve_until_signal(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ModelServer(_command_script(options), host=options.host, port=options.port) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; the first line on stdout is the base URL."""
    asyncio.run(_serve_until_signal(_command_line().parse_args(arguments)))


if __name__ == "__main__":
    main()
