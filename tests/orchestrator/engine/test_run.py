"""A run as callers hold it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage
from langgraph.graph import MessagesState
from langgraph.types import interrupt

from antiphon import RunFailed
from antiphon.orchestrator.engine.follow import BATCH_BYTES, BATCH_EVENTS
from antiphon.orchestrator.errors import NotInterrupted
from antiphon.orchestrator.events import RunCancelled, RunComplete, RunError, encode
from antiphon.orchestrator.testing import ScriptedModel
from tests.orchestrator.support import asking, chain, opened, reach_text, saying

GREETS = chain("greets", node=saying("hello ", "there"))


def waiting() -> tuple[asyncio.Event, Any]:
    """Return a gate, and a graph that says `before` and then waits for it."""
    gate = asyncio.Event()
    return gate, chain("waits", node=saying("before ", gate, "after"))


async def asks(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"you said {interrupt({'question': 'sure?'})}")]}


async def test_iterating_a_run_gives_its_events_from_the_first_to_the_terminal_one(
    url: str,
) -> None:
    async with opened(url, GREETS) as engine:
        run = await engine.start("hi")
        log = [recorded async for recorded in run]
    assert [recorded.seq for recorded in log] == list(
        range(run.first_seq, run.first_seq + len(log))
    )
    assert [recorded.ends_run for recorded in log] == [False] * (len(log) - 1) + [True]
    assert {(recorded.run_id, recorded.thread_id) for recorded in log} == {(run.id, run.thread_id)}


async def test_two_readers_at_once_see_the_same(url: str) -> None:
    gate, graph = waiting()
    async with opened(url, graph) as engine:
        run = await engine.start("hi")

        async def read() -> list[Any]:
            return [recorded async for recorded in run.events()]

        readers = [asyncio.create_task(read()) for _ in range(2)]
        await reach_text(run, "before ")
        gate.set()
        late = await read()
        assert await asyncio.gather(*readers) == [late, late]


async def test_batches_are_bounded_and_together_are_the_events(url: str) -> None:
    async def writes(state: MessagesState) -> dict[str, Any]:
        for number in range(2 * BATCH_EVENTS):
            await adispatch_custom_event("note", number)
        for _ in range(3):
            await adispatch_custom_event("large", "x" * (BATCH_BYTES // 2))
        return {}

    async with opened(url, chain(writes=writes)) as engine:
        run = await engine.start("hi")
        log = [recorded async for recorded in run]
        batches = [batch async for batch in run.batches()]
    assert [recorded for batch in batches for recorded in batch] == log
    assert {len(batch) for batch in batches[:2]} == {BATCH_EVENTS}
    assert all(
        len(batch) == 1 or sum(len(encode(one.event)) for one in batch) <= BATCH_BYTES
        for batch in batches
    )


async def test_a_run_read_back_by_its_id_is_the_same_run(url: str) -> None:
    async with opened(url, GREETS) as engine:
        run = await engine.start("hi")
        end = await run.wait()
    async with opened(url, GREETS) as engine:
        again = await engine.run(run.id)
        assert (
            again.id,
            again.thread_id,
            again.message_id,
            again.graph,
            again.first_seq,
            again.user_id,
        ) == (
            *(run.id, run.thread_id, run.message_id),
            *(run.graph, run.first_seq, run.user_id),
        )
        assert (await again.wait(), await again.result(), await again.text()) == (
            end,
            end,
            "hello there",
        )
        assert not again.created


async def test_results_wait_for_nobody(url: str) -> None:
    gate, graph = waiting()
    async with opened(url, graph) as engine:
        run = await engine.start("hi")
        assert (await run.result(), await run.status()) == (None, "running")
        gate.set()
        end = await run.wait()
        assert isinstance(end, RunComplete)
        assert (await run.result(), await run.status()) == (end, "completed")


async def test_the_text_of_a_run_that_failed_is_an_error_with_its_last_event(url: str) -> None:
    async with opened(
        url, chain(node=asking(ScriptedModel(turns=[["half", ValueError("secret")]])))
    ) as engine:
        run = await engine.start("hi")
        with pytest.raises(RunFailed, match=r"^An agent failed\.$") as raised:
            await run.text()
        assert isinstance(raised.value.event, RunError)
        assert raised.value.event == await run.result()
        assert raised.value.event.partial_text == "half"


async def test_a_question_ends_following_and_the_answer_goes_on(url: str) -> None:
    async with opened(url, chain(asks=asks)) as engine:
        run = await engine.start("hi")
        assert await run.wait() is None
        assert (await run.text(), await run.status(), await run.result()) == (
            "sure?",
            "interrupted",
            None,
        )
        await run.answer("yes")
        assert await run.text() == "you said yes"
        with pytest.raises(NotInterrupted):
            await run.answer("again")


async def test_cancelling_needs_no_await(url: str) -> None:
    _, graph = waiting()
    async with opened(url, graph) as engine:
        run = await engine.start("hi")
        await reach_text(run, "before ")
        run.cancel()
        end = await run.wait()
        assert isinstance(end, RunCancelled)
        with pytest.raises(RunFailed, match=r"^cancelled by local$"):
            await run.text()


async def test_awaiting_a_cancellation_waits_until_it_is_stored(url: str) -> None:
    _, graph = waiting()
    async with opened(url, graph) as engine:
        run = await engine.start("hi")
        await run.cancel()
        assert (await engine.record(run.id, "local")).cancel_requested_by == "local"
        assert isinstance(await run.wait(), RunCancelled)


async def test_a_run_says_who_it_is(url: str) -> None:
    async with opened(url, GREETS) as engine:
        run = await engine.start("hi")
        assert repr(run) == f"<Run {run.id} of thread {run.thread_id}>"
        await run.wait()


async def test_the_record_of_an_ended_run_knows_its_last_number(url: str) -> None:
    async with opened(url, GREETS) as engine:
        run = await engine.start("hi")
        last = [recorded async for recorded in run][-1]
        assert (await engine.record(run.id, "local")).last_seq == last.seq
