"""A question to the human, in every vocabulary: it ends the turn as an answer would, and the
client's ordinary next message answers it, or `POST /api/v1/runs/{id}/resume`; also at the next
server. A new row is tested by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from antiphon.api.dialects.base import Wait
from tests.api.dialects.table import PRODUCT, TABLE, registered
from tests.api.graphs import DELETE, PAY
from tests.api.order import check_turns
from tests.api.ways import UNTOLD, WAYS, Said, Server, SocketFrames, decoded, said
from tests.api.wire import SOON, socket, sse, sse_all
from tests.support.server import (
    GRAPHS,
    UNLIMITED,
    LiveServer,
    ProcessServer,
    running_server,
    server_process,
)

OPTIONS = ["Merula", "other"]


def http(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=SOON, trust_env=False)


class Voice:
    """A client of one vocabulary, over one of its doors, that reads by what the vocabulary
    declares.
    """

    def __init__(self, name: str) -> None:
        self.kind, self.dialect, self.door = WAYS[name]
        self.name = name

    async def say(self, server: Server, session: str, message: str) -> Said:
        """Say a message in a conversation, and read the turn to its end."""
        async with http(server) as client:
            way = self.kind(self.dialect, self.door, server, client, "asking", session)
            await way.open_conversation()
            frames = [decoded(frame) for frame in await way.turn(message)]
            check_turns(self.dialect, frames)
            turn = said(self.dialect, frames)
            return turn if turn.whole is not None else await self.stored(client, turn)

    async def stored(self, client: httpx.AsyncClient, turn: Said) -> Said:
        """Where no frame has the whole text, the stored message has it."""
        thread = (await client.get(f"/api/v1/runs/{turn.run_id}")).json()["thread_id"]
        messages = (await client.get(f"/api/v1/threads/{thread}/messages")).json()["messages"]
        whole = [one["content"] for one in messages if one["role"] == "assistant"][-1]
        return Said(turn.shown, whole, turn.question, turn.run_id)

    async def refusal(self, server: Server, session: str, message: str) -> str:
        """Say a message that is refused. Returns the code."""
        async with http(server) as client:
            way = self.kind(self.dialect, self.door, server, client, "asking", session)
            await way.open_conversation()
            try:
                async with way.begin(message) as reader:
                    assert isinstance(reader, SocketFrames)
                    frame = decoded(str(await reader.next()))
            except AssertionError as error:  # a response that is no stream
                status, body = error.args[0]
                assert status == 422
                frame = decoded(body.decode())
        return str(frame.get("data", frame)["code"])


class Waiting(Voice):
    """A client that waits for the whole answer."""

    def __init__(self) -> None:
        self.dialect, self.name = TABLE["chat"], "waits"
        (self.door,) = [door for door in self.dialect.doors if isinstance(door, Wait)]

    async def say(self, server: Server, session: str, message: str) -> Said:
        body = {"message": message, "session_id": session}
        async with http(server) as client:
            answer = (await client.post(self.door.path, json=body)).json()
        question = answer["metadata"].get("interrupt")
        return Said(answer["response"], answer["response"], question, answer["run_id"])

    async def refusal(self, server: Server, session: str, message: str) -> str:
        async with http(server) as client:
            answer = await client.post(
                self.door.path, json={"message": message, "session_id": session}
            )
        assert answer.status_code == 422
        return str(answer.json()["code"])


VOICES = {
    voice.name: voice
    for voice in (
        *map(Voice, [name for name in WAYS if WAYS[name][1].reading is not None]),
        Waiting(),
    )
    if "SameConnection" not in voice.name
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose default graph asks, with all rows of the table."""
    folder = tmp_path_factory.mktemp("questions")
    with registered(), running_server(folder, graphs=(f"{GRAPHS}:asking",), **UNLIMITED) as running:
        yield running


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessServer]:
    """The same with the product's rows, as a process that can be killed."""
    with server_process(
        tmp_path_factory.mktemp("mortal"), None, "--graph", f"{GRAPHS}:asking"
    ) as process:
        yield process


@pytest.fixture(params=VOICES)
def voice(request: pytest.FixtureRequest) -> Voice:
    found: Voice = VOICES[request.param]
    return found


def check_question(turn: Said) -> None:
    assert turn.shown == turn.whole == "Which car?"
    if turn.question is not UNTOLD:
        assert (turn.question["question"], turn.question["options"]) == ("Which car?", OPTIONS)


def check_answer(turn: Said, text: str = "Merula") -> None:
    assert turn.shown == turn.whole == f"So it is: {text} "
    assert turn.question in (None, UNTOLD)


async def test_the_clients_next_message_answers(server: LiveServer, voice: Voice) -> None:
    session = str(uuid4())
    asked = await voice.say(server, session, "ask me")
    check_question(asked)
    answered = await voice.say(server, session, "Merula")
    check_answer(answered)
    assert answered.run_id == asked.run_id
    after = await voice.say(server, session, "and on")
    check_answer(after, "and on")
    assert after.run_id != asked.run_id


async def test_another_conversation_is_not_the_answer(server: LiveServer, voice: Voice) -> None:
    session = str(uuid4())
    check_question(await voice.say(server, session, "ask me"))
    check_answer(await voice.say(server, str(uuid4()), "elsewhere"), "elsewhere")
    check_answer(await voice.say(server, session, "Merula"))


async def test_a_request_of_its_own_answers(server: LiveServer, voice: Voice) -> None:
    session = str(uuid4())
    asked = await voice.say(server, session, "ask me")
    async with http(server) as client:
        path = f"/api/v1/runs/{asked.run_id}"
        async with sse(client, "POST", f"{path}/resume", json={"answer": "Merula"}) as reader:
            assert (await reader.until("run_complete"))[-1].data["text"] == "So it is: Merula "
        assert (await client.get(path)).json()["status"] == "completed"
        again = await client.post(f"{path}/resume", json={"answer": "other"})
        assert (again.status_code, again.json()["code"]) == (409, "NOT_INTERRUPTED")
    check_answer(await voice.say(server, session, "and on"), "and on")


async def test_questions_in_all_vocabularies_outlive_their_server(mortal: ProcessServer) -> None:
    server, voices = mortal, [voice for voice in VOICES.values() if voice.dialect.name in PRODUCT]
    open_ = [(voice, str(uuid4()), by_request) for voice in voices for by_request in (False, True)]
    asked = [await voice.say(server, session, "ask me") for voice, session, _ in open_]
    server.kill()
    server.start()
    for (voice, session, by_request), turn in zip(open_, asked, strict=True):
        check_question(turn)
        if by_request:
            path = f"/api/v1/runs/{turn.run_id}/resume"
            async with (
                http(server) as client,
                sse(client, "POST", path, json={"answer": "other"}) as reader,
            ):
                assert (await reader.until("run_complete"))[-1].data["text"] == "So it is: other "
        else:
            answered = await voice.say(server, session, "Merula")
            check_answer(answered)
            assert answered.run_id == turn.run_id


# -- several questions at once ---------------------------------------------------------------------


def check_both(turn: Said) -> None:
    """Both questions are shown, the oldest first, each with its id."""
    assert turn.shown == turn.whole == f"{PAY}\n\namount: 10\n\nAlso open:\n- {DELETE}"
    if turn.question is UNTOLD:
        return
    assert turn.question is not None
    assert turn.question["question"] == PAY
    assert [one["question"] for one in turn.question["questions"]] == [PAY, DELETE]
    assert len({one["id"] for one in turn.question["questions"]}) == 2
    assert turn.question["questions"][0]["id"] == turn.question["id"]


def check_one(turn: Said) -> None:
    """Only the second question is open."""
    assert turn.shown == turn.whole == DELETE
    if turn.question is not UNTOLD:
        assert turn.question is not None
        assert (turn.question["question"], turn.question.get("questions")) == (DELETE, None)


async def test_one_yes_is_the_answer_to_one_of_two_questions(
    server: LiveServer, voice: Voice
) -> None:
    session = str(uuid4())
    check_both(await voice.say(server, session, "ask both"))
    check_one(await voice.say(server, session, "yes"))
    end = await voice.say(server, session, "no")
    assert end.shown == end.whole == "done: paid"


async def test_a_message_may_name_the_question_that_it_answers(
    server: LiveServer, voice: Voice
) -> None:
    session = str(uuid4())
    asked = await voice.say(server, session, "ask both")
    async with (
        http(server) as client,
        sse(client, "GET", f"/api/v1/runs/{asked.run_id}/events") as reader,
    ):
        [other] = (await reader.until("interrupt"))[-1].data["others"]
    await voice.say(server, session, f'{{"{other["id"]}": "yes"}}')
    end = await voice.say(server, session, "no")
    assert end.shown == end.whole == "done: deleted"


async def resume(
    client: httpx.AsyncClient, run_id: str, status: int = 202, **body: Any
) -> dict[str, Any]:
    """Answer by the run's id. Returns the event at which the run stops next, or the refusal."""
    path = f"/api/v1/runs/{run_id}"
    response = await client.post(f"{path}/resume", json=body)
    assert response.status_code == status, response.text
    if status != 202:
        return dict(response.json())
    blocks = await sse_all(client, "GET", f"{path}/events")
    return dict(blocks[-1].data)


async def test_a_request_names_the_question_that_it_answers(server: LiveServer) -> None:
    async with http(server) as client:
        asked = (await sse_all(client, "POST", "/api/v1/runs", json={"message": "ask both"}))[
            -1
        ].data
        run_id, second = asked["run_id"], asked["others"][0]["id"]
        assert asked["questions"] == {asked["id"]: {"question": PAY, "amount": 10}, second: DELETE}
        for wrong in ({"answer": "yes", "id": "0" * 32}, {"answer": {"0" * 32: "yes"}}):
            refused = await resume(client, run_id, 409, **wrong)
            assert refused["code"] == "UNKNOWN_QUESTION"
        left = await resume(client, run_id, answer="yes", id=second)
        assert (left["id"], left["question"], left.get("others")) == (asked["id"], PAY, None)
        refused = await resume(client, run_id, 409, answer="yes", id=second)
        assert refused["code"] == "UNKNOWN_QUESTION", "it was answered already"
        assert (await resume(client, run_id, answer="no"))["text"] == "done: deleted"


async def test_a_frame_names_the_question_that_it_answers(server: LiveServer) -> None:
    async with socket(f"{server.ws}/api/v1/ws") as opened:
        await opened.send(type="message", message="ask both")
        asked = (await opened.until("interrupt"))[-1]
        answer = {"type": "answer", "run_id": asked["run_id"]}
        refused = await opened.ask(**answer, answer="yes", id="0" * 32)
        assert (refused["type"], refused["code"]) == ("error", "UNKNOWN_QUESTION")
        await opened.send(**answer, answer="yes", id=asked["others"][0]["id"])
        assert (await opened.until("interrupt"))[-1]["id"] == asked["id"]
        await opened.send(**answer, answer={asked["id"]: "yes"})
        assert (await opened.until("run_complete"))[-1]["text"] == "done: deleted, paid"


# -- breakpoints and reviews -----------------------------------------------------------------------

STOPPED = "Dear Bob\n\nThe graph has stopped before `send`. Shall it go on?"


def check_breakpoint(turn: Said) -> None:
    assert turn.shown.endswith(STOPPED)
    if turn.question is not UNTOLD:
        assert turn.question is not None
        assert turn.question["options"] == ["yes", "no"]


async def test_a_breakpoint_knows_yes_from_no_and_from_other_words(
    server: LiveServer, voice: Voice
) -> None:
    ends = {"yes": "sent: Dear Bob", "no, stop, do not send!": "Stopped before `send`."}
    for answer, end in ends.items():
        session = str(uuid4())
        asked = await voice.say(server, session, "draft it")
        check_breakpoint(asked)
        for unclear in ("yes but do not send", "What is the weather?"):
            assert await voice.refusal(server, session, unclear) == "ANSWER_UNCLEAR"
        answered = await voice.say(server, session, answer)
        assert answered.shown == answered.whole == end
        assert answered.run_id == asked.run_id


async def test_a_review_of_a_tool_call_is_answered_in_words(
    server: LiveServer, voice: Voice
) -> None:
    for answer, end in {"yes, please": "decided: approve", "no": "decided: reject"}.items():
        session = str(uuid4())
        asked = await voice.say(server, session, "review it")
        assert asked.whole == 'Look at this.\n\nmail(to="ada")\n\nAnswer with approve or reject.'
        assert await voice.refusal(server, session, "who is Ada?") == "ANSWER_UNCLEAR"
        assert await voice.refusal(server, session, '{"type": "edit"}') == "ANSWER_INVALID"
        answered = await voice.say(server, session, answer)
        assert answered.shown == answered.whole == end


async def test_a_breakpoint_is_not_passed_because_the_server_died_there(tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    trap.touch()
    with server_process(tmp_path, {"TRAP": str(trap)}, "--graph", f"{GRAPHS}:dying") as server:
        async with http(server) as client:
            started = await client.post("/api/v1/runs", json={"message": "draft it"})
            path = f"/api/v1/runs/{started.json()['run_id']}"
            assert server.process is not None
            assert await asyncio.to_thread(server.process.wait, SOON) == -signal.SIGKILL
        server.kill()
        assert not trap.exists()
        server.start()
        async with http(server) as client:
            asked = (await sse_all(client, "GET", f"{path}/events"))[-1].data
            assert (asked["type"], asked["reason"]) == ("interrupt", "breakpoint")
            assert asked["value"] == {
                "next": ["send"],
                "state": {"question": "draft it", "draft": "Dear Bob"},
            }
            assert (await resume(client, asked["run_id"], answer="yes"))["text"] == "sent: Dear Bob"
