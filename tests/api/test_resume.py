"""A connection may break behind any frame: what follows on the next one is exactly what was missed."""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Protocol
from uuid import uuid4

import httpx
import pytest

from tests.api.wire import Block, Socket, SseReader, raw, socket, sse, sse_all
from tests.support.model_server import Reply
from tests.support.server import LiveServer, Teller

ENDS = {"run_complete", "complete", "error", "flow_completed", "flow_error"}


class Stream(Protocol):
    """Frames of a run, however they come."""

    async def next(self) -> str | None:
        """The next frame as it was sent; None at the end."""


class SseStream:
    """Over SSE: a frame is a whole event, or only its data where it is compared with a WebSocket's."""

    def __init__(self, reader: SseReader, whole: bool) -> None:
        self._reader = reader
        self._whole = whole

    async def next(self) -> str | None:
        block = await self._reader.block()
        return None if block is None else block.raw.decode() if self._whole else block.text


class SocketStream:
    """Over WebSocket: until the frame that ends the run."""

    def __init__(self, opened: Socket) -> None:
        self._socket = opened
        self._ended = False

    async def next(self) -> str | None:
        if self._ended:
            return None
        text = await self._socket.text()
        self._ended = json.loads(text)["type"] in ENDS
        return text


class Wire:
    """One way to ask, and one way to come back."""

    def __init__(self, server: LiveServer, client: httpx.AsyncClient) -> None:
        self.server = server
        self.client = client

    def begin(self, question: str) -> Any:
        """An async context with the stream of a new run."""
        raise NotImplementedError

    def again(self, last: str) -> Any:
        """An async context with what follows behind the frame `last`."""
        raise NotImplementedError


class NativePost(Wire):
    path = "/api/v1/runs"
    whole = True

    def body(self, question: str) -> dict[str, Any]:
        return {"message": question}

    @asynccontextmanager
    async def begin(self, question: str) -> AsyncIterator[Stream]:
        self._body = self.body(question)
        async with sse(self.client, "POST", self.path, json=self._body) as reader:
            yield SseStream(reader, self.whole)

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        headers = {"last-event-id": Block(last.encode()).id}
        async with sse(self.client, "POST", self.path, json=self._body, headers=headers) as reader:
            yield SseStream(reader, self.whole)


class MultiAgentPost(NativePost):
    path = "/api/streaming/multi-agent/stream"

    def body(self, question: str) -> dict[str, Any]:
        return {
            "query": question,
            "primary_agent": "specs",
            "supporting_agents": ["maintenance"],
            "context": {"stream_supporting": True, "session_id": str(uuid4())},
        }


class SessionsPost(NativePost):
    """At a pace, which the request that resumes does not have to ask for again."""

    def __init__(self, server: LiveServer, client: httpx.AsyncClient) -> None:
        super().__init__(server, client)
        self.path = f"/sessions/{uuid4()}/messages/stream"

    def body(self, question: str) -> dict[str, Any]:
        return {"content": question, "delay_ms": 2}

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        self._body = {}
        async with super().again(last) as stream:
            yield stream


class NativeGet(NativePost):
    """Asked by POST, resumed as an EventSource does it."""

    def place(self, block: Block) -> dict[str, Any]:
        return {"headers": {"last-event-id": block.id}}

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        block = Block(last.encode())
        path = f"/api/v1/runs/{block.data['run_id']}/events"
        async with sse(self.client, "GET", path, **self.place(block)) as reader:
            yield SseStream(reader, self.whole)


class NativeAfter(NativeGet):
    def place(self, block: Block) -> dict[str, Any]:
        return {"params": {"after": block.id}}


class NativeAfterNumber(NativeGet):
    def place(self, block: Block) -> dict[str, Any]:
        return {"params": {"after": block.data["seq"]}}


class NativeLastEventIdQuery(NativeGet):
    def place(self, block: Block) -> dict[str, Any]:
        return {"params": {"last_event_id": block.id}}


class NativeSocket(Wire):
    path = "/api/v1/ws"

    @asynccontextmanager
    async def begin(self, question: str) -> AsyncIterator[Stream]:
        async with socket(self.server.ws + self.path) as opened:
            await opened.send(**self.message(question))
            yield SocketStream(opened)

    def message(self, question: str) -> dict[str, Any]:
        return {"type": "message", "message": question}

    def resumption(self, frame: dict[str, Any]) -> dict[str, Any]:
        return {"type": "resume", "run_id": frame["run_id"], "after": frame["seq"]}

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        async with socket(self.server.ws + self.path) as opened:
            await opened.send(**self.resumption(json.loads(last)))
            yield SocketStream(opened)


class ChatSocket(NativeSocket):
    path = "/ws/chat"

    def resumption(self, frame: dict[str, Any]) -> dict[str, Any]:
        return {"type": "resume", "run_id": frame["run_id"], "last_seq": frame["seq"]}


class FlowSocket(NativeSocket):
    """The server speaks first."""

    path = "/api/chat/execute/team"

    @asynccontextmanager
    async def begin(self, question: str) -> AsyncIterator[Stream]:
        async with self._greeted(self.message(question)) as stream:
            yield stream

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        async with self._greeted(self.resumption(json.loads(last))) as stream:
            yield stream

    @asynccontextmanager
    async def _greeted(self, frame: dict[str, Any]) -> AsyncIterator[Stream]:
        async with socket(self.server.ws + self.path) as opened:
            assert (await opened.frame())["type"] == "status"
            await opened.send(**frame)
            yield SocketStream(opened)


class NativeSseThenSocket(NativeSocket):
    """The client changes its transport."""

    def __init__(self, server: LiveServer, client: httpx.AsyncClient) -> None:
        super().__init__(server, client)
        self._post = NativePost(server, client)
        self._post.whole = False

    def begin(self, question: str) -> Any:
        return self._post.begin(question)


class MultiAgentSocket(Wire):
    """The client keeps its connection id and says what it has seen."""

    def __init__(self, server: LiveServer, client: httpx.AsyncClient) -> None:
        super().__init__(server, client)
        self._url = f"{server.ws}/api/streaming/ws/{uuid4()}"

    @asynccontextmanager
    async def begin(self, question: str) -> AsyncIterator[Stream]:
        async with socket(self._url) as opened:
            assert (await opened.frame())["type"] == "connected"
            await opened.send(type="multi_agent_request", request={"query": question, "primary_agent": "specs"})
            yield SocketStream(opened)

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        async with socket(f"{self._url}?last_seq={json.loads(last)['seq']}") as opened:
            assert (await opened.frame())["type"] == "connected"
            yield SocketStream(opened)


class MultiAgentResume(MultiAgentSocket):
    """The client comes back under another connection id and asks for the rest."""

    @asynccontextmanager
    async def again(self, last: str) -> AsyncIterator[Stream]:
        frame = json.loads(last)
        async with socket(f"{self.server.ws}/api/streaming/ws/{uuid4()}") as opened:
            assert (await opened.frame())["type"] == "connected"
            await opened.send(type="resume", run_id=frame["run_id"], last_seq=frame["seq"])
            yield SocketStream(opened)


SSE_WIRES = [
    NativePost,
    NativeGet,
    NativeAfter,
    NativeAfterNumber,
    NativeLastEventIdQuery,
    MultiAgentPost,
    SessionsPost,
]
WIRES = [*SSE_WIRES, NativeSocket, NativeSseThenSocket, MultiAgentSocket, MultiAgentResume, ChatSocket, FlowSocket]
ANSWER = "One two three four five six seven.\nEight 🙂 nine."


async def everything(stream: Stream) -> list[str]:
    found: list[str] = []
    while (frame := await stream.next()) is not None:
        found.append(frame)
    return found


async def some(stream: Stream, count: int) -> list[str]:
    found = [await stream.next() for _ in range(count)]
    assert None not in found, "the stream ended early"
    return [frame for frame in found if frame is not None]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_run_that_has_ended_is_resumed_exactly_behind_every_frame(
    wire: type[Wire], live: LiveServer, client: httpx.AsyncClient, teller: Teller
) -> None:
    question = teller.answer(f"ended {wire.__name__}", Reply(ANSWER, delay=0.003))
    way = wire(live, client)
    async with way.begin(question) as stream:
        whole = await everything(stream)
    assert len(whole) > 3
    for had in range(1, len(whole)):
        async with way.again(whole[had - 1]) as stream:
            assert await everything(stream) == whole[had:]


@pytest.mark.parametrize("wire", WIRES)
async def test_a_run_that_goes_on_is_resumed_exactly_behind_every_frame(
    wire: type[Wire], live: LiveServer, client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer(f"alive {wire.__name__}", Reply(ANSWER, gate=gate, gate_at=4, delay=0.003))
    way = wire(live, client)
    async with AsyncExitStack() as connections:
        first = await connections.enter_async_context(way.begin(question))
        had = [str(await first.next())]
        while "four" not in had[-1]:
            had += await some(first, 1)
        others: list[tuple[int, Stream, list[str]]] = []
        for count in range(1, len(had)):
            stream = await connections.enter_async_context(way.again(had[count - 1]))
            others.append((count, stream, await some(stream, len(had) - count)))
        gate.set()
        whole = had + await everything(first)
        assert len(whole) > len(had)
        for count, stream, missed in others:
            assert had[:count] + missed + await everything(stream) == whole


async def test_a_post_that_resumes_never_asks_again(client: httpx.AsyncClient, teller: Teller) -> None:
    question = "asked once"
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": question})
    for block in whole:
        headers = {"last-event-id": block.id}
        await sse_all(client, "POST", "/api/v1/runs", json={"message": question}, headers=headers)
        accepted = await client.post("/api/v1/runs", json={"message": "something else"}, headers=headers)
        assert accepted.json()["run_id"] == block.data["run_id"]
    assert len(teller.asked(question)) == 1
    assert not teller.asked("something else")
    messages = await client.get(f"/api/v1/threads/{whole[0].data['thread_id']}/messages")
    assert sorted(message["role"] for message in messages.json()["messages"]) == ["assistant", "user"]


async def test_the_header_counts_more_than_the_query(client: httpx.AsyncClient) -> None:
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": "which one counts"})
    path = f"/api/v1/runs/{whole[0].data['run_id']}/events"
    headers, params = {"last-event-id": whole[5].id}, {"last_event_id": whole[2].id, "after": whole[0].id}
    assert raw(await sse_all(client, "GET", path, headers=headers, params=params)) == raw(whole[6:])
    assert raw(await sse_all(client, "GET", path, params=params)) == raw(whole[3:])


async def test_a_run_of_which_nothing_is_left_answers_204(client: httpx.AsyncClient) -> None:
    """An EventSource that gets anything but 200 stops asking."""
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": "nothing left"})
    response = await client.get(
        f"/api/v1/runs/{whole[0].data['run_id']}/events", headers={"last-event-id": whole[-1].id}
    )
    assert (response.status_code, response.content) == (204, b"")


# -------------------------------------------------------------------------------------------------- threads


async def test_a_thread_is_resumed_exactly_behind_every_event_of_all_its_runs(
    live: LiveServer, client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    first = await sse_all(client, "POST", "/api/v1/runs", json={"message": "thread one"})
    thread_id = first[0].data["thread_id"]
    teller.answer("thread two", Reply("and two more", gate=gate, gate_at=1))
    await client.post("/api/v1/runs", json={"message": "thread two", "thread_id": thread_id})
    path = f"/api/v1/threads/{thread_id}/events"
    async with AsyncExitStack() as connections:
        reader = await connections.enter_async_context(sse(client, "GET", path))
        had = await reader.until("run_complete") + await reader.until("agent_chunk")
        others = []
        for count in range(1, len(had)):
            headers = {"last-event-id": had[count - 1].id}
            other = await connections.enter_async_context(sse(client, "GET", path, headers=headers))
            others.append((count, other, await other.blocks(len(had) - count)))
        opened = await connections.enter_async_context(socket(f"{live.ws}/api/v1/ws"))
        await opened.send(type="resume", thread_id=thread_id, after=0)
        gate.set()
        whole = had + await reader.until("run_complete")
        for count, other, missed in others:
            assert raw(had[:count] + missed + await other.until("run_complete")) == raw(whole)
        frames = await opened.texts_until("run_complete") + await opened.texts_until("run_complete")
        assert frames == [block.text for block in whole]
    assert [block.data["seq"] for block in whole] == list(range(1, len(whole) + 1))


async def test_a_thread_shows_both_runs_of_a_queue_without_mixing_them_up(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    gate = threading.Event()
    teller.answer("queue one", Reply("first answer", gate=gate, gate_at=1))
    one = (await client.post("/api/v1/runs", json={"message": "queue one"})).json()
    body = {"message": "queue two", "thread_id": one["thread_id"]}
    async with sse(client, "POST", "/api/v1/runs", json=body) as second:
        waiting = await second.blocks(2)
        gate.set()
        rest = await second.rest()
    assert {block.data["run_id"] for block in waiting + rest} == {waiting[0].data["run_id"]} != {one["run_id"]}
    path = f"/api/v1/runs/{one['run_id']}/events"
    assert {block.data["run_id"] for block in await sse_all(client, "GET", path)} == {one["run_id"]}
    assert raw(await sse_all(client, "GET", path.replace(one["run_id"], waiting[0].data["run_id"]))) == raw(
        waiting + rest
    )


# ------------------------------------------------------------------------------------ events of several frames


async def test_a_chat_socket_cut_inside_an_event_resumes_exactly(asking: LiveServer, client: httpx.AsyncClient) -> None:
    """A user's own graph reports no steps: they all stand before its first token, made of one event."""
    way = ChatSocket(asking, client)
    async with way.begin("an own graph") as stream:
        whole = await everything(stream)
    for had in range(1, len(whole)):
        async with way.again(whole[had - 1]) as stream:
            assert await everything(stream) == whole[had:]


async def test_a_multi_agent_socket_cut_between_question_and_complete_resumes_exactly(
    asking: LiveServer, client: httpx.AsyncClient
) -> None:
    url = f"{asking.ws}/api/streaming/ws/{uuid4()}"
    async with socket(url) as opened:
        await opened.send(type="multi_agent_request", request={"query": "ask me"})
        whole = (await opened.texts_until("complete"))[1:]
    for had in range(1, len(whole)):
        async with socket(f"{url}?last_seq={json.loads(whole[had - 1])['seq']}") as opened:
            assert (await opened.texts_until("complete"))[1:] == whole[had:]


async def test_multi_agent_sse_cut_between_question_and_complete_resumes_exactly(asking: LiveServer) -> None:
    path, body = "/api/streaming/multi-agent/stream", {"query": "ask me"}
    async with httpx.AsyncClient(base_url=asking.url, trust_env=False) as client:
        whole = await sse_all(client, "POST", path, json=body)
        assert [block.event for block in whole][-2:] == ["interaction", "complete"]
        for had in range(1, len(whole)):
            headers = {"last-event-id": whole[had - 1].id}
            assert raw(await sse_all(client, "POST", path, json=body, headers=headers)) == raw(whole[had:])


# -------------------------------------------------------------------------------------------------- bad cursors


@pytest.mark.parametrize(
    "cursor",
    [
        "nonsense",
        "1",
        "-1",
        "99999999999999999",
        "01900000-0000-7000-8000-000000000000:1.0",
        "a:1.0",
        "{run}:999.0",
        "-:1.0",
        "é",
        "\n",
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/runs", "/api/streaming/multi-agent/stream"])
async def test_a_post_with_an_unknown_cursor_is_gone_in_its_own_words(
    client: httpx.AsyncClient, teller: Teller, path: str, cursor: str
) -> None:
    run = (await client.post("/api/v1/runs", json={"message": "known"})).json()["run_id"]
    place = {"params": {"last_event_id": cursor.format(run=run)}}
    asked = len(teller.asked("lost"))
    response = await client.post(path, json={"message": "lost"}, **place)
    assert (response.status_code, response.json()["code"]) == (410, "CURSOR_GONE")
    assert ("recoverable" in response.json()) == ("multi-agent" in path)
    assert len(teller.asked("lost")) == asked


@pytest.mark.parametrize("cursor", ["nonsense", "-1", "999", "{other}:1.0", "{run}:999.0", "1.5", "１２"])
async def test_a_get_with_a_cursor_that_cannot_be_served_is_gone(client: httpx.AsyncClient, cursor: str) -> None:
    run, other = [(await client.post("/api/v1/runs", json={"message": "known"})).json()["run_id"] for _ in "12"]
    place = cursor.format(run=run, other=other)
    response = await client.get(f"/api/v1/runs/{run}/events", params={"after": place})
    assert (response.status_code, response.json()["code"]) == (410, "CURSOR_GONE")


async def test_a_thread_with_a_cursor_beyond_its_end_is_gone(client: httpx.AsyncClient) -> None:
    accepted = (await client.post("/api/v1/runs", json={"message": "known"})).json()
    path = f"/api/v1/threads/{accepted['thread_id']}/events"
    for place in (f"{accepted['run_id']}:999.0", "999", "nonsense"):
        response = await client.get(path, params={"after": place})
        assert (response.status_code, response.json()["code"]) == (410, "CURSOR_GONE")


async def test_a_thread_does_not_take_another_threads_cursor_for_its_own(client: httpx.AsyncClient) -> None:
    mine, other = [await sse_all(client, "POST", "/api/v1/runs", json={"message": f"thread {n}"}) for n in "12"]
    request = client.build_request(
        "GET", f"/api/v1/threads/{mine[0].data['thread_id']}/events", headers={"last-event-id": other[5].id}
    )
    response = await client.send(request, stream=True)
    await response.aclose()
    assert response.status_code == 410


@pytest.mark.parametrize("path", ["/api/v1/ws", "/ws/chat", "/api/streaming/ws/c-1"])
async def test_a_socket_says_which_events_there_are_when_it_cannot_serve_a_cursor(
    live: LiveServer, client: httpx.AsyncClient, path: str
) -> None:
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": "known"})
    last = whole[-1].data
    async with socket(live.ws + path) as opened:
        if path.endswith("c-1"):
            await opened.frame()
        reset = await opened.ask(type="resume", run_id=last["run_id"], last_seq=999, after=999)
        if path == "/api/v1/ws":
            assert (reset["type"], reset["first"], reset["last"]) == ("stream_reset", 1, last["seq"])
        else:
            assert (reset["type"], reset["code"]) == ("error", "CURSOR_GONE")
            assert str(last["seq"]) in reset["error"]
        assert (await opened.ask(type="ping"))["type"] == "pong"
