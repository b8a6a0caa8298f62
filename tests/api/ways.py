"""Clients of any vocabulary, by what it declares:

each way to send a message, and to come back after a break.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import uuid4

import httpx

from antiphon.api.dialects.base import Dialect, Stream, Talk, tag
from antiphon.api.dialects.words import ClientMessage
from antiphon.api.principal import LOCAL
from tests.api.dialects.table import TABLE
from tests.api.order import inner, last_at, pieces
from tests.api.wire import Block, Socket, SseReader, socket, sse


class Server(Protocol):
    @property
    def url(self) -> str: ...

    @property
    def ws(self) -> str: ...


class Reader(Protocol):
    """Frames, however they come."""

    async def next(self) -> str | None:
        """The next frame as it was sent; None at the end of the response."""


@dataclass
class SseFrames:
    """Over SSE a frame is a whole event; or only its data, to be compared with a WebSocket's."""

    reader: SseReader
    whole: bool = True

    async def next(self) -> str | None:
        block = await self.reader.block()
        return None if block is None else block.raw.decode() if self.whole else block.text


@dataclass
class SocketFrames:
    opened: Socket

    async def next(self) -> str | None:
        return await self.opened.text()


def decoded(frame: str) -> Any:
    """A frame's data; raw texts stay as they are."""
    text = Block(frame.encode()).text if "data: " in frame and not frame.startswith("{") else frame
    return json.loads(text) if text.startswith("{") else text


@dataclass
class Way:
    """One way to talk with a server, in one conversation."""

    dialect: Dialect
    door: Any
    server: Server
    client: httpx.AsyncClient
    agent: str = "team"
    session: str = field(default_factory=lambda: str(uuid4()))
    more: dict[str, Any] = field(default_factory=dict)
    """Fields of messages beside the text and the conversation."""
    path: str = ""

    async def open_conversation(self) -> None:
        """Fill in the address; a thread is created if the address names one."""
        names = {"session_id": self.session, "agent_id": self.agent, "connection_id": str(uuid4())}
        if "{thread_id}" in self.door.path:
            headers = {"idempotency-key": self.session}
            made = await self.client.post("/chat/threads", json={}, headers=headers)
            names["thread_id"] = made.json()["thread"]["id"]
        self.path = self.door.path.format(**names)

    def body(self, kind: Any, text: str) -> dict[str, Any]:
        """A message under the names that its class has for things."""
        fields = kind.__struct_fields__
        names = [name for name in ("message", "query", "content") if name in fields]
        assert names, "a message's text is in one of these fields"
        body = {names[0]: text} | self.more
        return body | ({"session_id": self.session} if "session_id" in fields else {})

    def begin(self, text: str) -> AbstractAsyncContextManager[Reader]:
        """The frames of a new message."""
        raise NotImplementedError

    def again(self, last: str) -> AbstractAsyncContextManager[Reader]:
        """What follows after the frame `last`."""
        raise NotImplementedError

    async def turn(self, text: str) -> list[str]:
        """All frames of a message's turn."""
        async with self.begin(text) as reader:
            return await self.to_its_end(reader)

    async def to_its_end(self, reader: Reader) -> list[str]:
        frames: list[str] = []
        while (frame := await reader.next()) is not None:
            frames.append(frame)
            if isinstance(reader, SocketFrames) and self.ends(frame):
                return frames
        return frames

    def ends(self, frame: str) -> bool:
        """Whether a frame on a WebSocket is the last one of its turn."""
        if self.dialect.raw:
            return frame in self.dialect.raw
        return decoded(frame)["type"] in {tag(kind) for kind in self.dialect.final}

    def can_resume(self, frame: str) -> bool:
        """Whether a client knows its place by this frame: texts on a WebSocket have no number."""
        return frame not in self.dialect.raw


class StreamWay(Way):
    """A POST, and the same POST with `Last-Event-ID`."""

    @asynccontextmanager
    async def begin(self, text: str) -> AsyncIterator[Reader]:
        body = self.body(getattr(self.door.body, "__origin__", self.door.body), text)
        async with sse(self.client, "POST", self.path, json=body) as reader:
            yield SseFrames(reader)

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Reader]:
        headers = {"last-event-id": Block(last.encode()).id}
        async with sse(self.client, "POST", self.path, json={}, headers=headers) as reader:
            yield SseFrames(reader)


class TalkWay(Way):
    """A message on a WebSocket, and `resume` on another one."""

    @asynccontextmanager
    async def opened(self, path: str = "") -> AsyncIterator[Socket]:
        async with socket(self.server.ws + (path or self.path)) as opened:
            if self.dialect.greets and self.dialect.welcome("", LOCAL, False, 0) is not None:
                await opened.text()
            yield opened

    @asynccontextmanager
    async def begin(self, text: str) -> AsyncIterator[Reader]:
        words = [word for word in self.dialect.asks if issubclass(word, ClientMessage)]
        word = words[-1]
        async with self.opened() as opened:
            await opened.send(type=tag(word), **self.body(word, text))
            yield SocketFrames(opened)

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Reader]:
        frame = decoded(last)
        async with self.opened(
            self.door.path.format(agent_id=self.agent, connection_id=uuid4())
        ) as opened:
            await opened.send(type="resume", run_id=frame["run_id"], **self.cursor(frame["seq"]))
            yield SocketFrames(opened)

    def cursor(self, seq: float) -> dict[str, float]:
        return {"last_seq": seq}


class SameConnectionWay(TalkWay):
    """The client keeps its connection id, and says in the address what it has seen."""

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Reader]:
        async with self.opened(f"{self.path}?last_seq={decoded(last)['seq']}") as opened:
            yield SocketFrames(opened)


class NativeTalkWay(TalkWay):
    """A conversation has no name of the client's: its next message names the thread."""

    thread_id: str | None = None

    def body(self, kind: Any, text: str) -> dict[str, Any]:
        return {"message": text, "thread_id": self.thread_id}

    async def to_its_end(self, reader: Reader) -> list[str]:
        frames = await super().to_its_end(reader)
        self.thread_id = decoded(frames[0])["thread_id"]
        return frames

    def cursor(self, seq: float) -> dict[str, float]:
        return {"after": seq}


class RunsWay(NativeTalkWay):
    """`POST /api/v1/runs`, and the same POST again."""

    runs = "/api/v1/runs"
    whole = True

    @asynccontextmanager
    async def begin(self, text: str) -> AsyncIterator[Reader]:
        async with sse(self.client, "POST", self.runs, json=self.body(None, text)) as reader:
            yield SseFrames(reader, self.whole)

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Reader]:
        headers = {"last-event-id": Block(last.encode()).id}
        async with sse(
            self.client, "POST", self.runs, json={"message": "x"}, headers=headers
        ) as reader:
            yield SseFrames(reader)


class EventsWay(RunsWay):
    """Asked by POST, resumed as an EventSource does it."""

    def place(self, block: Block) -> dict[str, Any]:
        return {"headers": {"last-event-id": block.id}}

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Reader]:
        block = Block(last.encode())
        path = f"{self.runs}/{block.data['run_id']}/events"
        async with sse(self.client, "GET", path, **self.place(block)) as reader:
            yield SseFrames(reader)


class AfterWay(EventsWay):
    def place(self, block: Block) -> dict[str, Any]:
        return {"params": {"after": block.id}}


class AfterNumberWay(EventsWay):
    def place(self, block: Block) -> dict[str, Any]:
        return {"params": {"after": block.data["seq"]}}


class LastEventIdQueryWay(EventsWay):
    def place(self, block: Block) -> dict[str, Any]:
        return {"params": {"last_event_id": block.id}}


class OtherTransportWay(RunsWay):
    """Asked over SSE, resumed over WebSocket."""

    whole = False
    again = TalkWay.again


NATIVE_WAYS = (
    NativeTalkWay,
    RunsWay,
    EventsWay,
    AfterWay,
    AfterNumberWay,
    LastEventIdQueryWay,
    OtherTransportWay,
)


def ways() -> dict[str, tuple[type[Way], Dialect, Any]]:
    """All ways to ask and to come back, by name: a new row of the table adds its own."""
    found: dict[str, tuple[type[Way], Dialect, Any]] = {}
    for dialect in TABLE.values():
        for door in dialect.doors:
            if isinstance(door, Talk) and dialect.name == "native":
                kinds: Sequence[type[Way]] = NATIVE_WAYS
            elif isinstance(door, Talk):
                kinds = (
                    (TalkWay, SameConnectionWay) if "{connection_id}" in door.path else (TalkWay,)
                )
            else:
                kinds = (StreamWay,) if type(door) is Stream else ()
            for kind in kinds:
                found[f"{kind.__name__} {door.path}"] = (kind, dialect, door)
    return found


WAYS = ways()


UNTOLD: dict[str, Any] = {}
"""The question's details in a vocabulary that has it as a text alone."""


@dataclass(frozen=True)
class Said:
    """What a client of a turn has: what it appended, the whole text, and a question's details."""

    shown: str
    whole: str | None
    question: Any
    run_id: str


def said(dialect: Dialect, frames: Sequence[Any]) -> Said:
    """A turn as a client reads it that goes by the dialect's `reading`."""
    reading = dialect.reading
    assert reading is not None
    plain = [frame for frame in frames if isinstance(frame, dict)]
    whole, question = last_at(reading.whole, plain), last_at(reading.question, plain)
    details = question if reading.question is not None else UNTOLD
    shown = whole if question is not None and not reading.asks_in_pieces else pieces(reading, plain)
    return Said(shown, whole, details, inner(plain[-1], "run_id"))
