"""A connection may break after any frame:

what follows on the next one is exactly what was missed.
"""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest

from tests.api.dialects.table import registered
from tests.api.ways import WAYS, Reader, SocketFrames, Way
from tests.api.wire import raw, socket, sse, sse_all
from tests.support.model_server import Reply
from tests.support.server import (
    GRAPHS,
    UNLIMITED,
    LiveServer,
    Teller,
    model_settings,
    running_server,
)

ANSWER = "One two three four five six seven.\nEight 🙂 nine."
MORE: dict[str, dict[str, Any]] = {
    "/api/streaming/multi-agent/stream": {
        "primary_agent": "specs",
        "supporting_agents": ["maintenance"],
        "context": {"stream_supporting": True},
    },
    "/api/streaming/ws/{connection_id}": {"primary_agent": "specs"},
    "/sessions/{session_id}/messages/stream": {"delay_ms": 2, "chunk_words": 1},
}
"""What makes a door's stream richer. A request that resumes does not have to ask for it again."""


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[LiveServer]:
    """A server with all rows of the table, and the team."""
    folder = tmp_path_factory.mktemp("team")
    with registered(), running_server(folder, **model_settings(teller), **UNLIMITED) as server:
        yield server


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server with all rows of the table whose default graph asks, and reports no progress."""
    folder = tmp_path_factory.mktemp("house")
    graphs = (f"{GRAPHS}:asking",)
    with (
        registered(),
        running_server(folder, graphs=graphs, heartbeat_seconds=0.15, **UNLIMITED) as server,
    ):
        yield server


async def way_of(name: str, server: LiveServer, agent: str) -> AsyncIterator[Way]:
    kind, dialect, door = WAYS[name]
    async with httpx.AsyncClient(base_url=server.url, timeout=15, trust_env=False) as client:
        way = kind(dialect, door, server, client, agent, more=MORE.get(door.path, {}))
        await way.open_conversation()
        yield way


@pytest.fixture(params=WAYS)
async def way(request: pytest.FixtureRequest, team: LiveServer) -> AsyncIterator[Way]:
    """A way to ask the team, and to come back."""
    async for opened in way_of(request.param, team, "team"):
        yield opened


@pytest.fixture(params=WAYS)
async def asker(request: pytest.FixtureRequest, house: LiveServer) -> AsyncIterator[Way]:
    """A way to talk with the graph that asks."""
    async for opened in way_of(request.param, house, "asking"):
        yield opened


async def some(reader: Reader, count: int) -> list[str]:
    found = [await reader.next() for _ in range(count)]
    assert None not in found, "the stream ended early"
    return [frame for frame in found if frame is not None]


async def check_resumes(way: Way, whole: list[str], end: int | None = None) -> None:
    """After each frame but the last, exactly the rest follows:

    up to `end`, if a stream ends with its turn.
    """
    for had in range(1, end or len(whole)):
        if way.can_resume(whole[had - 1]):
            async with way.again(whole[had - 1]) as reader:
                missed = whole[had:end] if way.dialect.one_turn else whole[had:]
                assert await some(reader, len(missed)) == missed
                assert isinstance(reader, SocketFrames) or await reader.next() is None


async def test_a_run_that_has_ended_is_resumed_exactly_after_every_frame(
    way: Way, teller: Teller
) -> None:
    whole = await way.turn(teller.answer(f"ended {way.session}", Reply(ANSWER, delay=0.003)))
    assert len(whole) > 3
    await check_resumes(way, whole)


async def test_a_run_that_goes_on_is_resumed_exactly_after_every_frame(
    way: Way, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer(
        f"alive {way.session}", Reply(ANSWER, gate=gate, gate_at=4, delay=0.003)
    )
    async with AsyncExitStack() as connections:
        first = await connections.enter_async_context(way.begin(question))
        had = [str(await first.next())]
        while "three" not in had[-1]:
            had += await some(first, 1)
        others: list[tuple[Reader, list[str], list[str]]] = []
        for count in range(1, len(had)):
            reader = await connections.enter_async_context(way.again(had[count - 1]))
            others.append((reader, had[:count], await some(reader, len(had) - count)))
        gate.set()
        whole = had + await way.to_its_end(first)
        assert len(whole) > len(had)
        for reader, seen, missed in others:
            assert [*seen, *missed, *await way.to_its_end(reader)] == whole


async def test_an_event_of_several_frames_is_resumed_exactly_within(asker: Way) -> None:
    """A user's own graph reports no steps:

    all that a vocabulary shows first is made of few events.
    """
    await check_resumes(asker, await asker.turn("an own graph"))


async def test_a_question_and_its_answer_are_resumed_exactly_after_every_frame(asker: Way) -> None:
    asked = await asker.turn("ask me")
    await check_resumes(asker, asked)
    whole = [*asked, *await asker.turn("Merula")]
    await check_resumes(asker, whole, len(asked))


async def test_a_post_that_resumes_never_asks_again(
    client: httpx.AsyncClient, teller: Teller
) -> None:
    question = "asked once"
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": question})
    for block in whole:
        headers = {"last-event-id": block.id}
        await sse_all(client, "POST", "/api/v1/runs", json={"message": question}, headers=headers)
        accepted = await client.post(
            "/api/v1/runs", json={"message": "something else"}, headers=headers
        )
        assert accepted.json()["run_id"] == block.data["run_id"]
    assert len(teller.asked(question)) == 1
    assert not teller.asked("something else")
    messages = await client.get(f"/api/v1/threads/{whole[0].data['thread_id']}/messages")
    assert sorted(message["role"] for message in messages.json()["messages"]) == [
        "assistant",
        "user",
    ]


async def test_the_header_counts_more_than_the_query(client: httpx.AsyncClient) -> None:
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": "which one counts"})
    path = f"/api/v1/runs/{whole[0].data['run_id']}/events"
    headers, params = (
        {"last-event-id": whole[5].id},
        {"last_event_id": whole[2].id, "after": whole[0].id},
    )
    assert raw(await sse_all(client, "GET", path, headers=headers, params=params)) == raw(whole[6:])
    assert raw(await sse_all(client, "GET", path, params=params)) == raw(whole[3:])


async def test_a_run_of_which_nothing_is_left_answers_204(client: httpx.AsyncClient) -> None:
    """An EventSource that gets anything but 200 stops asking."""
    whole = await sse_all(client, "POST", "/api/v1/runs", json={"message": "nothing left"})
    response = await client.get(
        f"/api/v1/runs/{whole[0].data['run_id']}/events", headers={"last-event-id": whole[-1].id}
    )
    assert (response.status_code, response.content) == (204, b"")


# -- threads ---------------------------------------------------------------------------------------


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
    assert (
        {block.data["run_id"] for block in waiting + rest}
        == {waiting[0].data["run_id"]}
        != {one["run_id"]}
    )
    path = f"/api/v1/runs/{one['run_id']}/events"
    assert {block.data["run_id"] for block in await sse_all(client, "GET", path)} == {one["run_id"]}
    assert raw(
        await sse_all(client, "GET", path.replace(one["run_id"], waiting[0].data["run_id"]))
    ) == raw(waiting + rest)


# -- bad cursors -----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    "cursor", ["nonsense", "-1", "999", "{other}:1.0", "{run}:999.0", "1.5", "１２"]
)
async def test_a_get_with_a_cursor_that_cannot_be_served_is_gone(
    client: httpx.AsyncClient, cursor: str
) -> None:
    run, other = [
        (await client.post("/api/v1/runs", json={"message": "known"})).json()["run_id"]
        for _ in "12"
    ]
    place = cursor.format(run=run, other=other)
    response = await client.get(f"/api/v1/runs/{run}/events", params={"after": place})
    assert (response.status_code, response.json()["code"]) == (410, "CURSOR_GONE")


async def test_a_thread_with_a_cursor_beyond_its_end_is_gone(client: httpx.AsyncClient) -> None:
    accepted = (await client.post("/api/v1/runs", json={"message": "known"})).json()
    path = f"/api/v1/threads/{accepted['thread_id']}/events"
    for place in (f"{accepted['run_id']}:999.0", "999", "nonsense"):
        response = await client.get(path, params={"after": place})
        assert (response.status_code, response.json()["code"]) == (410, "CURSOR_GONE")


async def test_a_thread_does_not_take_another_threads_cursor_for_its_own(
    client: httpx.AsyncClient,
) -> None:
    mine, other = [
        await sse_all(client, "POST", "/api/v1/runs", json={"message": f"thread {n}"}) for n in "12"
    ]
    request = client.build_request(
        "GET",
        f"/api/v1/threads/{mine[0].data['thread_id']}/events",
        headers={"last-event-id": other[5].id},
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
            assert (reset["type"], reset["first"], reset["last"]) == (
                "stream_reset",
                1,
                last["seq"],
            )
        else:
            assert (reset["type"], reset["code"]) == ("error", "CURSOR_GONE")
            assert str(last["seq"]) in reset["error"]
        assert (await opened.ask(type="ping"))["type"] == "pong"
