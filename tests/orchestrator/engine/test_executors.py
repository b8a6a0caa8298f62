"""Who executes runs is a port: an engine that only queues, and another one that executes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import MessagesState
from langgraph.types import interrupt

from antiphon import Engine
from antiphon.data.database import Database
from antiphon.data.records import RunRecord
from antiphon.orchestrator.engine import runner
from antiphon.orchestrator.engine.executors import EXECUTORS, Executor
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.events import (
    MessageSaved,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunStart,
)
from antiphon.orchestrator.graphs.served import ServedGraph
from tests.orchestrator.support import (
    chain,
    events_of,
    of_type,
    opened,
    reach_text,
    saying,
    shown_answer,
)


class Queue:
    """Executes nothing. Its runs wait for another engine on the database."""

    worker = None

    def __init__(
        self,
        database: Database,
        graph: Callable[[str], Awaitable[ServedGraph | None]],
        environment: Environment,
    ) -> None:
        self.submitted: list[tuple[str, str]] = []

    def begin(self) -> None:
        pass

    def submit(self, run: RunRecord, served: ServedGraph) -> None:
        self.submitted.append((run.id, run.status))

    async def cancel(self, run: RunRecord, by: str) -> None:
        pass

    async def close(self) -> None:
        pass


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> list[Queue]:
    """The executors of engines opened with `executor="queue"`; others look for runs often."""
    made: list[Queue] = []

    def make(*args: Any) -> Executor:
        made.append(Queue(*args))
        return made[-1]

    monkeypatch.setitem(EXECUTORS, "queue", make)
    monkeypatch.setattr(runner, "SCAN_SECONDS", 0.01)
    return made


def accepting(url: str, graph: Any) -> AbstractAsyncContextManager[Engine]:
    """An engine that only queues."""
    return opened(url, graph, executor="queue")


async def test_an_engine_accepts_what_another_one_executes(url: str, queue: list[Queue]) -> None:
    graph = chain(node=saying("hello ", "there"))
    async with accepting(url, graph) as engine:
        run = await engine.start("hi")
        next_run = await engine.start("and again", thread_id=run.thread_id)
        assert queue[0].submitted == [(run.id, "queued"), (next_run.id, "queued")]
        record = await engine.record(run.id, "local")
        assert (record.status, record.owner, record.attempt) == ("queued", None, 0)
        async with opened(url, graph):
            assert await run.text() == await next_run.text() == "hello there"
        record = await engine.record(run.id, "local")
        assert (record.attempt, record.charges, record.crashes) == (1, 1, 0)
        assert not of_type(await events_of(run), RunAttempt)


async def test_a_run_that_was_only_queued_is_not_counted_as_recovered(
    url: str, queue: list[Queue]
) -> None:
    graph = chain(node=saying("hello"))
    seen: list[str] = []
    async with accepting(url, graph) as engine:
        runs = [await engine.start("hi") for _ in range(3)]
        async with opened(url, graph, observe=lambda name, _: seen.append(name)):
            for run in runs:
                await run.wait()
    assert (seen.count("run_started"), seen.count("recovered")) == (3, 0)


async def asks_twice(state: MessagesState) -> dict[str, Any]:
    return {"messages": [AIMessage(f"you said {interrupt('sure?')}, {interrupt('really?')}")]}


async def test_answers_are_queued_too_and_do_not_begin_another_attempt(
    url: str, queue: list[Queue]
) -> None:
    """Also more of them than the attempts that a run may lose."""
    graph = chain(node=asks_twice)
    async with accepting(url, graph) as engine, opened(url, graph, max_attempts=1):
        run = await engine.start("do it")
        assert await run.text() == "sure?"
        again = await engine.answer(run.id, "yes", idempotency_key="k")
        assert await run.text() == "really?"
        repeated = await engine.answer(run.id, "yes", idempotency_key="k")
        assert (again.answered, again.message_id) == (repeated.answered, repeated.message_id)
        await run.answer("no")
        assert await run.text() == "you said yes, no"
        record = await engine.record(run.id, "local")
        assert (record.attempt, record.charges) == (1, 1)
        assert [status for _, status in queue[0].submitted] == ["queued"] * 3


def speaks_and_asks() -> Any:
    """A graph whose node says something, asks, and then answers."""
    speaks = saying("My plan. ")

    async def node(state: MessagesState) -> dict[str, Any]:
        await speaks(state)
        return {"messages": [AIMessage(f"Done: {interrupt('sure?')}")]}

    return chain(node=node)


async def test_what_a_node_said_before_it_asked_is_taken_back_when_another_engine_goes_on(
    url: str, queue: list[Queue]
) -> None:
    graph = speaks_and_asks()
    async with accepting(url, graph) as engine, opened(url, graph):
        run = await engine.start("do it")
        await run.wait()
        await run.answer("yes")
        assert isinstance(await run.wait(), RunComplete)
        events = await events_of(run)
    reasons = [attempt.reason for attempt in of_type(events, RunAttempt)]
    assert (reasons[0], "recovered" in reasons) == ("resumed", False)
    assert shown_answer(events) == "Done: yes"


async def test_it_is_taken_back_too_if_the_worker_that_got_the_answer_was_lost(
    url: str, queue: list[Queue], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = speaks_and_asks()
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        await run.wait()
    monkeypatch.setattr(Queue, "worker", "dead")
    async with accepting(url, graph) as engine:
        await engine.answer(run.id, "yes")
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        await run.wait()
        events = await events_of(run)
    reasons = [attempt.reason for attempt in of_type(events, RunAttempt)]
    assert reasons[:2] == ["recovered", "resumed"]
    assert shown_answer(events) == "Done: yes"


async def test_a_queued_run_is_cancelled_where_it_was_accepted(
    url: str, queue: list[Queue]
) -> None:
    graph = chain(node=saying("hello"))
    async with accepting(url, graph) as engine:
        run = await engine.start("hi")
        await engine.cancel(run.id)
        events = await events_of(run)
        assert [type(event) for event in events] == [RunStart, MessageSaved, RunCancelled]


async def test_an_answered_run_is_cancelled_before_another_engine_goes_on(
    url: str, queue: list[Queue]
) -> None:
    graph = chain(node=asks_twice)
    async with accepting(url, graph) as engine:
        run = await engine.start("do it")
        async with opened(url, graph):
            assert await run.text() == "sure?"
        await run.answer("yes")
        await engine.cancel(run.id)
        assert await run.wait() == RunCancelled(by="local")


async def test_a_run_is_cancelled_that_another_engine_executes(
    url: str, queue: list[Queue]
) -> None:
    gate = asyncio.Event()
    graph = chain(node=saying("before ", gate, "after"))
    async with accepting(url, graph) as engine, opened(url, graph):
        run = await engine.start("hi")
        await reach_text(run, "before ")
        await engine.cancel(run.id)
        end = await run.wait()
    assert isinstance(end, RunCancelled)
    assert (end.by, end.partial_text) == ("local", "before ")


async def test_an_unknown_executor_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="unknown executor 'cloud': use one of local"):
        async with opened(url, executor="cloud"):
            pass
