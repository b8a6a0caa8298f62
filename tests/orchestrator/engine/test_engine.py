"""Accepting, following, cancelling and recovering runs."""

from __future__ import annotations

import asyncio
import itertools
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import MessagesState
from langgraph.types import interrupt

from antiphon import Engine, Environment, Run, open_engine
from antiphon.data import open_database, transactions
from antiphon.data import records as data_records
from antiphon.data.database import Database
from antiphon.data.errors import AntiphonError, Busy, IdempotencyConflict, NotFound
from antiphon.data.ids import new_id
from antiphon.data.records import Fence
from antiphon.orchestrator.bounds import MESSAGE_LIMIT, TITLE_LIMIT
from antiphon.orchestrator.errors import (
    BadRequest,
    EmptyMessage,
    NotInterrupted,
    TooLarge,
    UnknownAgent,
    UnknownGraph,
)
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Custom,
    InterruptAnswered,
    MessageSaved,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
)
from antiphon.orchestrator.graphs.served import serve_graph
from tests.orchestrator.support import (
    Knowledge,
    accepted,
    begin,
    chain,
    check_log,
    events_of,
    of_type,
    opened,
    path_of,
    reach,
    reach_text,
    saying,
    shown_answer,
    side_by_side,
    writing,
)
from tests.support.deadline import DEADLINE


async def echo(state: MessagesState) -> dict[str, Any]:
    """Return all messages of the conversation."""
    return {"messages": [AIMessage(" / ".join(message.text for message in state["messages"]))]}


async def asks(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"you said {interrupt('sure?')}")]}


ECHO = chain("echo", echo=echo)
ASKS = chain("asks", asks=asks)


class Gated:
    """A graph whose runs say `before`, wait for the gate, and say `after`."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.graph = chain("gated", node=saying("before ", self.gate, "after"))


async def contents(engine: Engine, thread_id: str) -> list[tuple[str, str]]:
    return [(message.role, message.content) for message in await engine.messages(thread_id)]


# -- what is accepted ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "request_"),
    [
        (EmptyMessage, {"message": ""}),
        (EmptyMessage, {"message": " \n\t "}),
        (TooLarge, {"message": "x" * (MESSAGE_LIMIT + 1)}),
        (BadRequest, {"message": 7}),
        (BadRequest, {"message": "\ud800"}),
        (BadRequest, {"message": "hi", "mode": "quarrel"}),
        (UnknownGraph, {"message": "hi", "graph": "nowhere"}),
        (UnknownAgent, {"message": "hi", "graph": "team", "primary": "nobody"}),
        (UnknownAgent, {"message": "hi", "graph": "team", "supporting": ["specs", "nobody"]}),
        (NotFound, {"message": "hi", "thread_id": "missing"}),
    ],
)
async def test_a_wrong_request_is_refused_and_leaves_no_trace(
    url: str, error: type[AntiphonError], request_: dict[str, Any]
) -> None:
    async with opened(url, ECHO) as engine:
        with pytest.raises(error) as raised:
            await begin(engine, **request_)
        assert raised.value.code == error.code
        assert await engine.threads() == []


async def test_a_message_of_exactly_the_limit_is_accepted_and_null_characters_are_dropped(
    url: str,
) -> None:
    async with opened(url, ECHO) as engine:
        run = await engine.start("x" * MESSAGE_LIMIT)
        assert await run.text() == "x" * MESSAGE_LIMIT
        run = await engine.start("a\0b")
        assert await run.text() == "ab"


async def test_when_start_returns_the_message_and_the_run_are_stored(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await begin(engine, "hello", message_id="mine")
        assert run.message_id == "mine"
        assert await contents(engine, run.thread_id) == [("user", "hello")]
        assert await run.status() == "running"
        gated.gate.set()
        await run.wait()


async def test_messages_stand_in_the_order_of_the_conversation(url: str) -> None:
    async with opened(url, ECHO, clock=lambda: 1) as engine:
        run = await engine.start("one")
        await run.wait()
        await (await begin(engine, "two", thread_id=run.thread_id, message_id="0")).wait()
        roles = [role for role, _ in await contents(engine, run.thread_id)]
    assert roles == ["user", "assistant", "user", "assistant"]


async def test_a_graph_is_given_the_conversation_in_order(url: str) -> None:
    given: list[list[str]] = []

    async def listens(state: MessagesState) -> dict[str, Any]:
        given.append([message.text for message in state["messages"]])
        return {"messages": [AIMessage(f"about {given[-1][-1]}")]}

    async with opened(url, chain(listens=listens)) as engine:
        run = await engine.start("one")
        await run.wait()
        for text in ("two", "three"):
            await (await engine.start(text, thread_id=run.thread_id)).wait()
    assert given[-1] == ["one", "about one", "two", "about two", "three"]


async def test_a_queued_message_knows_the_answer_that_it_waited_for(url: str) -> None:
    gate = asyncio.Event()

    async def counts(state: MessagesState) -> dict[str, Any]:
        await gate.wait()
        return {"messages": [AIMessage(str(len(state["messages"])))]}

    async with opened(url, chain(counts=counts)) as engine:
        first = await engine.start("one")
        second = await engine.start("two", thread_id=first.thread_id)
        gate.set()
        assert [await first.text(), await second.text()] == ["1", "3"]


async def test_a_thread_can_be_named_by_its_client_and_names_belong_to_users(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await begin(engine, "one", dialect="page", thread_name="chat-1")
        again = await begin(engine, "two", dialect="page", thread_name="chat-1")
        assert again.thread_id == run.thread_id
        for elsewhere in ({"dialect": "app"}, {"dialect": "page", "user": "eve"}):
            other = await begin(engine, "three", thread_name="chat-1", **elsewhere)
            assert other.thread_id != run.thread_id
            await other.wait()
        await again.wait()


async def test_a_thread_can_be_created_before_its_first_message(url: str) -> None:
    async with opened(url, ECHO) as engine:
        thread = await engine.create_thread("ada", f" {'t' * TITLE_LIMIT}\0 ")
        assert thread.title == "t" * TITLE_LIMIT
        assert await engine.threads("ada") == [thread]
        assert (await engine.create_thread("ada", " ")).title is None
        with pytest.raises(BadRequest):
            await engine.create_thread("ada", "t" * (TITLE_LIMIT + 1))
        run = await engine.start("hello", user="ada", thread_id=thread.id)
        assert run.thread_id == thread.id
        with pytest.raises(NotFound):
            await engine.start("hello", user="eve", thread_id=thread.id)


async def test_a_thread_is_created_once_for_a_key_of_a_user(url: str) -> None:
    async with opened(url, ECHO) as engine:
        create = engine.create_thread
        made = await asyncio.gather(
            *(create("ada", "plans", idempotency_key="k") for _ in range(5))
        )
        assert len({thread.id for thread in made}) == 1
        assert (await create("eve", "plans", idempotency_key="k")).id != made[0].id
        with pytest.raises(IdempotencyConflict):
            await create("ada", "other plans", idempotency_key="k")


async def test_a_message_was_saved_when_its_record_says(url: str) -> None:
    async with opened(url, ECHO, clock=itertools.count(1).__next__) as engine:
        run = await engine.start("hello")
        times = [one.at async for one in run if isinstance(one.event, RunStart | MessageSaved)]
        assert times[:2] == [(await engine.messages(run.thread_id))[0].created_at] * 2


async def test_the_access_labels_of_a_request_are_not_told_in_its_events(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await begin(engine, "hello", access=("public", "board"), options={"verbose": True})
        start = of_type(await events_of(run), RunStart)[0]
    assert start.input == {"message": "hello", "options": {"verbose": True}}


# -- idempotency -----------------------------------------------------------------------------------


async def test_the_same_key_accepts_once_and_for_another_request_conflicts(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await begin(engine, "hello", idempotency_key="k")
        await run.wait()
        again = await begin(engine, "hello", idempotency_key="k")
        assert (run.created, again.created, again.id) == (True, False, run.id)
        assert await events_of(again) == await events_of(run)
        with pytest.raises(IdempotencyConflict):
            await begin(engine, "something else", idempotency_key="k")
        assert (await begin(engine, "hello", idempotency_key="k", user="eve")).created
    async with opened(url, ECHO) as engine:
        assert (await begin(engine, "hello", idempotency_key="k")).id == run.id
        assert len(await engine.threads()) == 1


async def test_twenty_requests_at_once_with_one_key_are_one_run(url: str) -> None:
    async with opened(url, ECHO) as engine:
        runs = await asyncio.gather(
            *(begin(engine, "hello", idempotency_key="k") for _ in range(20))
        )
        assert len({run.id for run in runs}) == 1
        assert [run.created for run in runs].count(True) == 1
        assert {await run.text() for run in runs} == {"hello"}
        assert len(await engine.threads()) == 1


async def test_a_run_and_a_key_of_an_earlier_version_live_on(url: str, database: Database) -> None:
    """The bytes are those that the version stored for "hi" with the key "k"."""
    digest = bytes.fromhex("b716a0841224f4e4c18de23094a44aedac2b3109a5c3086c055f6b7801f3f8b1")
    given = {
        "content": "hi",
        "input": b'{"message":"hi","access":["public"]}',
        "idempotency": ("k", digest),
    }
    record = await accepted(database, graph="echo", **given)
    await database.write(
        transactions.hand_back, Fence(run_id=record.id, epoch=record.lease_epoch), charged=False
    )
    await database.close()
    async with opened(url, ECHO) as engine:
        run = await begin(engine, "hi", idempotency_key="k")
        assert (run.id, run.created) == (record.id, False)
        async with asyncio.timeout(30):
            assert await run.text() == "hi"
        with pytest.raises(IdempotencyConflict):
            await begin(engine, "hello", idempotency_key="k")


async def test_a_repeated_message_is_not_taken_for_the_answer_to_its_own_question(url: str) -> None:
    async with opened(url, ASKS) as engine:
        request = {"dialect": "page", "thread_name": "1", "idempotency_key": "k"}
        run = await begin(engine, "do it", **request)
        await run.wait()
        again = await begin(engine, "do it", **request)
        assert (again.id, again.created, again.answered) == (run.id, False, 0)
        assert await run.status() == "interrupted"


async def test_an_answer_repeated_with_its_key_is_the_same_answer(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        await run.wait()
        first = await engine.answer(run.id, "yes", idempotency_key="k")
        await run.wait()
        again = await engine.answer(run.id, "yes", idempotency_key="k")
        assert again.created is False
        assert again.answered == first.answered > 0


async def test_a_message_that_answered_is_accepted_once_too(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        await run.wait()
        answered = set()
        for _ in range(2):
            again = await begin(engine, "yes", thread_id=run.thread_id, idempotency_key="k")
            assert again.id == run.id
            answered.add(again.answered)
            await run.wait()
        assert len(answered) == 1
        assert 0 not in answered


async def test_a_message_id_that_is_taken_is_refused_in_our_words(url: str) -> None:
    async with opened(url, ECHO) as engine:
        await (await begin(engine, "hello", message_id="mine")).wait()
        with pytest.raises(AntiphonError):
            await begin(engine, "other", message_id="mine", user="eve")


# -- a busy thread ---------------------------------------------------------------------------------


async def test_messages_for_a_busy_thread_are_answered_one_after_another(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        runs = [await engine.start("one")]
        runs += [await engine.start(text, thread_id=runs[0].thread_id) for text in ("two", "three")]
        assert [await run.status() for run in runs] == ["running", "queued", "queued"]
        gated.gate.set()
        ends = [await run.wait() for run in runs]
        log = [recorded async for recorded in engine_events(engine, runs[0])]
    assert all(isinstance(end, RunComplete) for end in ends)
    assert [recorded.run_id for recorded in log if recorded.ends_run] == [run.id for run in runs]


async def engine_events(engine: Engine, run: Run) -> Any:
    """Return the events of a run's thread so far."""
    async for batch in engine.follow(run.thread_id, tick=0.01):
        if not batch:
            return
        for recorded in batch:
            yield recorded


async def test_a_message_that_wants_to_be_rejected_is(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await engine.start("one")
        with pytest.raises(Busy):
            await begin(engine, "two", thread_id=run.thread_id, on_busy="reject")
        gated.gate.set()
        await run.wait()
        assert await contents(engine, run.thread_id) == [
            ("user", "one"),
            ("assistant", "before after"),
        ]


async def test_a_message_that_interrupts_stops_everything_before_it_and_keeps_what_was_said(
    url: str,
) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        first = await engine.start("one")
        queued = await engine.start("queued", thread_id=first.thread_id)
        await reach_text(first, "before ")
        last = await begin(engine, "two", thread_id=first.thread_id, on_busy="interrupt")
        ends = [await first.wait(), await queued.wait()]
        gated.gate.set()
        assert await last.text() == "before after"
        partial = [message for message in await engine.messages(first.thread_id) if message.partial]
    assert [type(end) for end in ends] == [RunCancelled, RunCancelled]
    assert [(message.run_id, message.content) for message in partial] == [(first.id, "before ")]


async def test_a_message_that_rolls_back_is_answered_as_if_the_other_had_not_been_sent(
    url: str,
) -> None:
    gate = asyncio.Event()

    async def counts(state: MessagesState) -> dict[str, Any]:
        if state["messages"][-1].text == "two":
            await gate.wait()
        return {"messages": [AIMessage(str(len(state["messages"])))]}

    async with opened(url, chain(counts=counts)) as engine:
        first = await engine.start("one")
        await first.wait()
        second = await engine.start("two", thread_id=first.thread_id)
        third = await begin(engine, "three", thread_id=first.thread_id, on_busy="rollback")
        assert isinstance(await second.wait(), RunCancelled)
        assert await third.text() == "3", "one, its answer, three"


async def test_a_message_for_a_thread_whose_run_waits_for_a_human_is_the_answer(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        question = [recorded async for recorded in run][-1]
        answer = await engine.start("yes", thread_id=run.thread_id)
        assert (answer.id, answer.answered) == (run.id, question.seq)
        assert await run.text() == "you said yes"
        [answered] = of_type(await events_of(run), InterruptAnswered)
        assert (answered.id, answered.answer, answered.by) == (question.event.id, "yes", "local")
        messages = await engine.messages(run.thread_id)
    assert answer.message_id == answered.message_id
    assert [(one.role, one.content) for one in messages] == [
        ("user", "do it"),
        ("assistant", "sure?"),
        ("user", "yes"),
        ("assistant", "you said yes"),
    ]
    assert [one.parent_id for one in messages[1:]] == [one.id for one in messages[:-1]]
    assert [one.id for one in messages[2:]] == [answered.message_id, answered.reply_id]


async def test_a_message_answers_the_waiting_run_even_while_another_is_queued(url: str) -> None:
    gate = asyncio.Event()

    async def asks_later(state: MessagesState) -> dict[str, Any]:
        await gate.wait()
        return await asks(state)

    async with opened(url, chain(asks_later=asks_later)) as engine:
        run = await engine.start("do it")
        await engine.start("and this", thread_id=run.thread_id)
        gate.set()
        assert await run.wait() is None
        assert (await engine.start("yes", thread_id=run.thread_id)).id == run.id


# -- whose it is -----------------------------------------------------------------------------------

METHODS: dict[str, Callable[[Engine, str, str], Awaitable[Any]]] = {
    "start": lambda engine, run, thread: engine.start("hi", thread_id=thread, user="eve"),
    "run": lambda engine, run, thread: engine.run(run, "eve"),
    "record": lambda engine, run, thread: engine.record(run, "eve"),
    "cancel": lambda engine, run, thread: engine.cancel(run, "eve"),
    "answer": lambda engine, run, thread: engine.answer(run, "yes", "eve"),
    "thread": lambda engine, run, thread: engine.thread(thread, "eve"),
    "messages": lambda engine, run, thread: engine.messages(thread, "eve"),
}


@pytest.mark.parametrize("method", METHODS)
async def test_what_is_somebody_elses_is_told_exactly_like_what_is_missing(
    url: str, method: str
) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it", user="ada")
        await run.wait()
        with pytest.raises(NotFound) as foreign:
            await METHODS[method](engine, run.id, run.thread_id)
        with pytest.raises(NotFound) as missing:
            await METHODS[method](engine, new_id(), new_id())
        assert str(foreign.value) == str(missing.value)
        assert await run.status() == "interrupted"
        assert await engine.threads("eve") == []


# -- following -------------------------------------------------------------------------------------


async def test_an_ended_run_reads_the_same_from_every_cursor(url: str) -> None:
    async with opened(url, chain(a=saying("one"), b=saying("two"))) as engine:
        run = await engine.start("hello")
        whole = [recorded async for recorded in run]
        for after in range(whole[-1].seq):
            assert [recorded async for recorded in run.events(after)] == whole[after:]
    async with opened(url) as engine:  # from the disk, without the tail in memory
        run = await engine.run(run.id)
        assert [recorded async for recorded in run] == whole


@pytest.mark.parametrize(
    "payload",
    [
        b"{",
        b"\xff",
        b'{"type":"nothing_known"}',
        b'{"type":"agent_start","span":1.5}',
        b'{"type":"agent_chunk"}',
        b'{"type":"tool_chunk","span":"1.1","call_id":"c","name":"search","text":"looking"}',
    ],
)
async def test_a_row_that_cannot_be_read_hides_nothing_else(url: str, payload: bytes) -> None:
    graph = chain(writer=saying("text"))
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        whole = await events_of(run)
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("UPDATE events SET payload = ? WHERE type = 'agent_start'", [payload])
    async with open_engine(
        url, graphs=[graph], environment=Environment(retriever=Knowledge())
    ) as engine:
        seen = await events_of(await engine.run(run.id))
        again = await engine.start("again", thread_id=run.thread_id)
        assert await again.text() == "text"
    assert len(seen) == len(whole)
    assert of_type(seen, Custom) == [Custom(name="unreadable", value={"type": "agent_start"})]


async def test_following_an_ended_run_from_its_end_ends_at_once(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await engine.start("hello")
        last = [recorded async for recorded in run][-1].seq
        assert [batch async for batch in bounded(run, last)] == []


async def bounded(run: Run, after: int) -> Any:
    """Return a run's events up to the first empty batch."""
    async for batch in run.batches(after, tick=0.02):
        yield batch
        if not batch:
            return


async def test_a_run_leaves_out_what_belongs_to_other_runs_of_its_thread(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        first = await engine.start("one")
        second = await engine.start("two", thread_id=first.thread_id)
        gated.gate.set()
        await second.wait()
        for run in (first, second):
            assert {recorded.run_id async for recorded in run} == {run.id}


async def test_a_follower_is_given_an_empty_batch_whenever_time_has_passed(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await engine.start("hello")
        ticks = 0
        async for batch in run.batches(tick=0.01):
            ticks += not batch
            if ticks == 3:
                gated.gate.set()
        assert ticks >= 3


async def test_a_thread_is_followed_over_its_runs_until_the_engine_drains(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await engine.start("one")
        ends = 0
        async for batch in engine.follow(run.thread_id):
            for recorded in batch:
                ends += recorded.ends_run
                if recorded.ends_run and ends == 1:
                    await engine.start("two", thread_id=run.thread_id)
                if ends == 2:
                    engine.drain()
        assert ends == 2


# -- making and deleting threads -------------------------------------------------------------------


async def test_a_thread_can_be_made_before_its_first_message(url: str) -> None:
    async with opened(url, ECHO) as engine:
        thread = await engine.create_thread("ada", "Plans")
        assert [one.title for one in await engine.threads("ada")] == ["Plans"]
        run = await engine.start("hello", user="ada", thread_id=thread.id)
        assert (run.thread_id, await run.text()) == (thread.id, "hello")


async def test_a_deleted_thread_is_gone_with_its_runs_under_way_and_those_that_wait(
    url: str,
) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await begin(engine, "one", dialect="page", thread_name="1")
        await reach_text(run, "before ")
        queued = await begin(engine, "two", dialect="page", thread_name="1")
        await engine.delete_thread(run.thread_id)
        assert await engine.threads() == []
        for gone in (
            engine.thread(run.thread_id),
            engine.record(run.id, "local"),
            engine.record(queued.id, "local"),
        ):
            with pytest.raises(NotFound):
                await gone
        anew = await begin(engine, "three", dialect="page", thread_name="1")
        assert anew.thread_id != run.thread_id
        gated.gate.set()
        assert await anew.text() == "before after"


async def test_a_thread_that_waits_for_a_human_can_be_deleted(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        await run.wait()
        await engine.delete_thread(run.thread_id)
        with pytest.raises(NotFound):
            await engine.thread(run.thread_id)


async def test_another_users_thread_cannot_be_deleted(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await engine.start("hello")
        await run.wait()
        with pytest.raises(NotFound):
            await engine.delete_thread(run.thread_id, "eve")
        assert await engine.thread(run.thread_id)


async def test_a_thread_whose_run_does_not_end_is_not_deleted(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("antiphon.orchestrator.engine.threads.DELETE_SECONDS", 0.05)
    stubborn, gate = asyncio.Event(), asyncio.Event()

    async def node(state: MessagesState) -> dict[str, Any]:
        stubborn.set()
        while not gate.is_set():
            try:
                await gate.wait()
            except asyncio.CancelledError:
                continue
        return {"messages": [AIMessage("done")]}

    async with opened(url, chain("stubborn", node=node)) as engine:
        run = await engine.start("hello")
        await stubborn.wait()
        try:
            with pytest.raises(Busy):
                await engine.delete_thread(run.thread_id)
            assert await engine.thread(run.thread_id)
        finally:
            gate.set()
        await run.wait()
        monkeypatch.undo()
        await engine.delete_thread(run.thread_id)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_followers_of_a_deleted_thread_end(url: str, elsewhere: bool) -> None:
    """Also slow ones, and those of another engine."""
    async with opened(url, ECHO) as engine, opened(url, ECHO) as other:
        run = await engine.start("hello")
        await run.wait()
        follower = other if elsewhere else engine
        slow = follower.follow(run.thread_id, run_id=run.id)
        await anext(slow)
        idle = follower.follow(
            run.thread_id, (await engine.thread(run.thread_id)).last_seq, tick=0.01
        )
        assert await anext(idle) == []
        await engine.delete_thread(run.thread_id)
        async with asyncio.timeout(DEADLINE):
            for stream in (
                idle,
                slow,
                follower.follow(run.thread_id),
                follower.follow(run.thread_id, run_id=run.id),
            ):
                async for _ in stream:
                    pass


# -- cancelling ------------------------------------------------------------------------------------


async def test_a_cancelled_run_keeps_what_was_said_as_a_partial_message(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await engine.start("hello")
        await reach_text(run, "before ")
        await engine.cancel(run.id)
        await engine.cancel(run.id)
        events = await events_of(run)
        [partial] = [message for message in await engine.messages(run.thread_id) if message.partial]
    assert events[-1] == RunCancelled(
        by="local", partial_message_id=partial.id, partial_text="before "
    )
    assert (partial.role, partial.content) == ("assistant", "before ")
    assert [event.finish_reason for event in of_type(events, AgentComplete)] == ["cancelled"]


async def test_cancelling_a_run_that_has_ended_changes_nothing(url: str) -> None:
    async with opened(url, ECHO) as engine:
        run = await engine.start("hello")
        end = await run.wait()
        await engine.cancel(run.id)
        assert (await run.result(), await run.status()) == (end, "completed")


async def test_a_queued_run_is_cancelled_without_being_executed(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        first = await engine.start("one")
        second = await engine.start("two", thread_id=first.thread_id)
        await engine.cancel(second.id)
        assert [type(event) for event in await events_of(second)] == [
            RunStart,
            MessageSaved,
            RunCancelled,
        ]
        gated.gate.set()
        assert isinstance(await first.wait(), RunComplete)


async def test_a_run_that_waits_for_a_human_can_be_cancelled(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        await run.wait()
        await engine.cancel(run.id)
        assert await run.wait() == RunCancelled(by="local")
        with pytest.raises(NotInterrupted):
            await run.answer("yes")


async def test_cancelling_a_waiting_run_keeps_what_it_had_said(url: str) -> None:
    async def plans(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage("My plan.")]}

    async with opened(url, side_by_side("planning", plans=plans, asks=asks)) as engine:
        run = await engine.start("do it")
        await run.wait()
        await engine.cancel(run.id)
        assert await run.wait() == RunCancelled(by="local")
        messages = await engine.messages(run.thread_id)
    assert [(one.content, one.partial) for one in messages] == [
        ("do it", False),
        ("My plan.\n\nsure?", False),
    ]


# -- another process -------------------------------------------------------------------------------


async def test_another_engine_on_the_database_reads_the_run_live_and_can_cancel_it(
    url: str,
) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine, opened(url, ECHO) as other:
        run = await engine.start("hello")
        seen = await other.run(run.id)
        await reach_text(seen, "before ")
        await other.cancel(run.id)
        assert isinstance(await seen.wait(), RunCancelled)
        assert [recorded async for recorded in seen] == [recorded async for recorded in run]


# -- recovering ------------------------------------------------------------------------------------


async def test_closing_hands_runs_back_and_the_next_engine_completes_them_uncharged(
    url: str,
) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await engine.start("hello")
        await reach_text(run, "before ")
    for _ in range(5):  # more often than attempts are allowed
        async with opened(url, gated.graph) as engine:
            again = await engine.run(run.id)
            await reach(again, lambda events: len(of_type(events, AgentStart)) > 1)
    gated.gate.set()
    async with opened(url, gated.graph) as engine:
        run = await engine.run(run.id)
        assert await run.text() == "before after"
        assert await contents(engine, run.thread_id) == [
            ("user", "hello"),
            ("assistant", "before after"),
        ]
        assert (await engine.record(run.id, "local")).crashes == 0


async def test_text_of_a_run_that_was_handed_back_is_superseded(url: str) -> None:
    gated = Gated()
    async with opened(url, gated.graph) as engine:
        run = await engine.start("hello")
        await reach_text(run, "before ")
    gated.gate.set()
    async with opened(url, gated.graph) as engine:
        events = await events_of(await engine.run(run.id))
    assert of_type(events, RunAttempt)[0].supersedes.agents == ["node"]
    assert shown_answer(events) == "before after"


async def test_a_run_whose_worker_died_goes_on_as_another_attempt(url: str) -> None:
    database = await open_database(url)
    record = await accepted(database, graph="echo", worker="dead")
    await database.close()
    async with opened(url, ECHO) as engine:
        run = await engine.run(record.id)
        log = [recorded async for recorded in run]
        assert isinstance(log[-1].event, RunComplete)
        assert of_type([recorded.event for recorded in log], RunAttempt)[0].reason == "recovered"
        assert (log[-1].attempt, (await engine.record(run.id, "local")).crashes) == (2, 1)


async def test_a_run_of_a_living_worker_is_left_alone(url: str) -> None:
    database = await open_database(url)
    record = await accepted(database, graph="echo", worker=database.worker_id)
    async with opened(url, ECHO) as engine:
        other = await engine.start("hello")
        await other.wait()
        assert (await engine.record(record.id, "local")).owner == database.worker_id
    await database.close()


async def test_a_run_that_was_lost_too_often_is_given_up(url: str) -> None:
    database = await open_database(url)
    record = await accepted(database, graph="echo", worker="dead 0")
    for life in range(3):
        await database.claim(record.id, f"dead {life + 1}", held_by=f"dead {life}")
    healthy = await accepted(database, graph="echo", worker="dead 0")
    await database.close()
    async with opened(url, ECHO, max_attempts=4) as engine:
        await (await engine.run(healthy.id)).wait()
        end = await (await engine.run(record.id)).wait()
        assert isinstance(end, RunError)
        assert (end.code, end.retryable) == ("CRASH_LOOP", False)
        assert await (await engine.run(healthy.id)).text() == "hello"


async def test_a_run_of_a_graph_that_must_not_run_twice_fails_after_a_crash(url: str) -> None:
    database = await open_database(url)
    record = await accepted(database, graph="once", worker="dead")
    await database.close()
    async with opened(url, serve_graph("once", chain(echo=echo), on_crash="fail")) as engine:
        end = await (await engine.run(record.id)).wait()
    assert isinstance(end, RunError)
    assert end.code == "CRASHED"


async def test_a_run_of_a_graph_that_is_not_served_waits(url: str) -> None:
    database = await open_database(url)
    record = await accepted(database, graph="elsewhere", worker="dead")
    await database.close()
    async with opened(url, ECHO) as engine:
        await (await engine.start("hello")).wait()
        assert (await engine.record(record.id, "local")).owner == "dead"


async def test_a_queued_run_of_a_graph_that_is_not_served_waits_when_its_turn_comes(
    url: str,
) -> None:
    gated = Gated()
    async with opened(url, gated.graph, ECHO) as engine:
        first = await engine.start("one")
        second = await engine.start("two", thread_id=first.thread_id, graph="echo")
        await reach_text(first, "before ")
    gated.gate.set()
    async with opened(url, gated.graph) as engine:
        await (await engine.run(first.id)).wait()
        await (await engine.start("another thread")).wait()
        assert (await engine.record(second.id, "local")).status == "queued"
    async with opened(url, gated.graph, ECHO) as engine:
        assert isinstance(await (await engine.run(second.id)).wait(), RunComplete)


async def test_behind_an_open_question_there_is_nothing_to_wait_for(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        *_, asked = [recorded async for recorded in run]
        async with asyncio.timeout(DEADLINE):
            assert [recorded async for recorded in run.events(asked.seq)] == []
            assert [recorded async for recorded in run.events(asked.seq - 1)] == [asked]


async def test_a_question_of_a_graph_that_is_not_served_stays_open(url: str) -> None:
    async with opened(url, ASKS) as engine:
        run = await engine.start("do it")
        await run.wait()
    async with opened(url, ECHO) as engine:
        with pytest.raises(AntiphonError):
            await engine.answer(run.id, "yes")
        assert (await engine.record(run.id, "local")).status == "interrupted"


async def test_a_handed_back_run_that_is_cancelled_closes_what_it_began(
    url: str, database: Database
) -> None:
    engine = Engine(
        database, [serve_graph("gated", Gated().graph)]
    )  # it has not begun to take up what is queued
    record = await accepted(database, graph="gated")
    await lost_while_speaking(database, record)
    await engine.cancel(record.id)
    check_log(path_of(url))


async def lost_while_speaking(database: Database, record: data_records.RunRecord) -> None:
    """Hand a run back as a worker does that is stopped while an agent speaks."""
    async with writing(database, record) as writer:
        writer.emit(AgentStart(span="1.1", agent="node"))
        writer.emit(AgentChunk(span="1.1", agent="node", text="half"))
        await writer.flush()
        await database.write(transactions.hand_back, writer.fence, charged=False)
