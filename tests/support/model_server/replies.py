"""What the server is to answer, and what it was asked."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, TypeAlias, cast

JsonObject: TypeAlias = dict[str, Any]
Outcome: TypeAlias = Literal["open", "completed", "closed_by_client", "cut", "closed_by_server"]
_BURST_PIECES = 512


def encoded_json(value: Any) -> bytes:
    """Encode compactly, as UTF-8; with escapes only where a lone surrogate requires them."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


class Gate(Protocol):
    """What can hold a stream: ``asyncio.Event``, ``threading.Event``, or anything with
    ``is_set()``.
    """

    def is_set(self) -> bool:
        """Say whether the stream may go on."""


@dataclass(frozen=True)
class Reply:
    """What to answer to one request. Never changed by the server, so one object may serve many
    requests.

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
    raw, content_type: the body as given, in writes of its own, instead of all of the above: for endpoints whose
        answers are not OpenAI's. ``delay`` lies between two writes.
    raw_forever: after ``raw``, send this again and again, ``delay`` seconds apart, until the client leaves.
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
    raw: Sequence[bytes] | None = None
    content_type: str = "text/event-stream"
    raw_forever: bytes = b""

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
        reasoning = [encoded_json({"reasoning_content": piece}) for piece in self.reasoning]
        return reasoning + [encoded_json({"content": piece}) for piece in self.content_pieces]

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


@dataclass(eq=False)
class ModelRequest:
    """One received request and what became of its answer; scripts get it, and ``server.requests``
    keeps it.

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
        return "\n".join(text_of(m) for m in self.messages if m["role"] in ("system", "developer"))

    @property
    def last_user(self) -> str:
        """The text of the last user message, or ""."""
        return next((text_of(m) for m in reversed(self.messages) if m["role"] == "user"), "")

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
        """The ``function`` object of the tool that ``tool_choice`` forces (the first one for
        "required").
        """
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


def text_of(message: Mapping[str, Any]) -> str:
    """Return the text of a message whose content is a string, a list of parts, or absent."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
