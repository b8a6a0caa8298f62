"""A process is killed (SIGKILL) at chosen instants of a run, and another one continues the run."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    AnyEvent,
    MessageSaved,
    RunAttempt,
    RunComplete,
    decode,
)
from antiphon.orchestrator.models import chat_model
from tests.orchestrator.support import askers, crew, events_of, of_type, opened, route, shown_answer
from tests.support.forks import fork
from tests.support.model_server import ModelServer, Reply, Script, by_turn

ROOT = Path(__file__).parents[3]
DIVIDED = route("specs", parts={"specs": "The power?", "maintenance": "The oil?"})


def dies_while(text: str, after: int) -> Script:
    """A reply that stops in the middle for the first process.

    The second process gets another text, at once.
    """
    return by_turn([Reply(f"lost {text}", hang_after=after), f"whole {text}"])


def said(agent: str) -> Callable[[list[AnyEvent]], bool]:
    return lambda events: any(
        isinstance(event, AgentChunk) and event.agent == agent for event in events
    )


def completed(agent: str) -> Callable[[list[AnyEvent]], bool]:
    return lambda events: any(
        isinstance(event, AgentComplete) and event.agent == agent for event in events
    )


@dataclass(frozen=True)
class Instant:
    """When the process is killed, and what is expected.

    That is the model's texts, how often each agent is asked in all, and whose text is superseded.
    """

    script: Callable[[], Script]
    seen: Callable[[list[AnyEvent]], bool] = lambda events: True
    arrived: int = 0
    asked: dict[str, int] = field(default_factory=dict)
    superseded: tuple[str, ...] = ()


ASKED = {"classifier": 1, "specs": 1, "maintenance": 1, "synthesis": 1}

INSTANTS = {
    "while the classifier decides": Instant(
        script=lambda: crew(classifier=by_turn([Reply(DIVIDED, hang_after=1), DIVIDED])),
        arrived=1,
        asked=ASKED | {"classifier": 2},
        superseded=("classifier",),
    ),
    "while a specialist speaks": Instant(
        script=lambda: crew(
            classifier=DIVIDED,
            specs=dies_while("draft", 1),
            maintenance=dies_while("draft of maintenance", 0),
        ),
        seen=said("specs"),
        arrived=3,
        asked=ASKED | {"specs": 2, "maintenance": 2},
        superseded=("maintenance", "specs"),
    ),
    "after one of two specialists completed": Instant(
        script=lambda: crew(classifier=DIVIDED, maintenance=dies_while("draft", 1)),
        seen=lambda events: completed("specs")(events) and said("maintenance")(events),
        arrived=3,
        asked=ASKED | {"maintenance": 2},
        superseded=("maintenance",),
    ),
    "while the synthesis speaks": Instant(
        script=lambda: crew(classifier=DIVIDED, synthesis=dies_while("answer", 1)),
        seen=said("synthesis"),
        arrived=4,
        asked=ASKED | {"synthesis": 2},
        superseded=("synthesis",),
    ),
}


async def killed(
    url: str,
    server: ModelServer,
    seen: Callable[[list[AnyEvent]], bool],
    arrived: int,
    message: str = "Power and oil, please",
    *more: str,
) -> str:
    """Kill a process that runs the team, after certain events and requests. Return the run's id."""
    arguments = [url, server.base_url, message, *more]
    child = await asyncio.to_thread(fork, "tests.orchestrator.child", arguments, os.environ)
    try:
        run_id = (await asyncio.to_thread(child.stdout.readline)).decode().strip()
        events: list[AnyEvent] = []
        while not seen(events):
            events.append(decode(await asyncio.to_thread(child.stdout.readline)))
        await server.wait_until(lambda: len(server.requests) >= arrived)
        await server.wait_until(lambda: arrived == 0 or server.requests[0].tokens_sent > 0)
    finally:
        child.kill()
        await asyncio.to_thread(child.wait)
        child.stdout.close()
    return run_id


async def recovered(url: str, server: ModelServer, run_id: str) -> tuple[list[AnyEvent], list[Any]]:
    """Return the log after another process has continued the run, and the thread's messages."""
    model: Any = chat_model("openai:gpt-4o-mini", base_url=server.base_url)
    try:
        async with opened(url, model=model) as engine:
            run = await engine.run(run_id)
            events = await events_of(run)
            record = await engine.record(run_id, "local")
            assert (record.status, record.attempt, record.crashes) == ("completed", 2, 1)
            return events, await engine.messages(run.thread_id)
    finally:
        await model.root_async_client.close()


@pytest.mark.parametrize("instant", INSTANTS.values(), ids=INSTANTS)
async def test_a_killed_run_is_completed_without_asking_twice_what_was_answered(
    url: str, instant: Instant
) -> None:
    async with ModelServer(instant.script()) as server:
        run_id = await killed(url, server, instant.seen, instant.arrived)
        events, messages = await recovered(url, server, run_id)
        assert Counter(askers(server)) == instant.asked
    end = events[-1]
    assert isinstance(end, RunComplete)
    assert shown_answer(events) == end.text
    assert "lost" not in end.text
    assert [(message.id, message.role) for message in messages] == [
        ("mine", "user"),
        (end.message_id, "assistant"),
    ]
    [attempt] = of_type(events, RunAttempt)
    assert (attempt.attempt, attempt.reason) == (2, "recovered")
    # the retriever works beside the specialists, and may or may not have come to its end
    assert (
        tuple(agent for agent in attempt.supersedes.agents if agent != "retriever")
        == instant.superseded
    )


async def test_a_message_is_stored_once_and_answered_when_the_process_dies_right_after_it(
    url: str,
) -> None:
    script = crew(
        classifier=by_turn(
            [Reply(DIVIDED, gate=asyncio.Event(), gate_at=-1), DIVIDED], repeat_last=True
        )
    )
    async with ModelServer(script) as server:
        run_id = await killed(url, server, lambda events: True, arrived=0)
        if (
            not server.requests
        ):  # it died before it asked: then the reply for it is still to be given
            server.set_script(crew(classifier=DIVIDED))
        events, messages = await recovered(url, server, run_id)
        asked = Counter(askers(server))
    assert isinstance(events[-1], RunComplete)
    assert [event.message.id for event in of_type(events, MessageSaved)] == [
        "mine",
        events[-1].message_id,
    ]
    assert [message.id for message in messages] == ["mine", events[-1].message_id]
    assert asked.pop("classifier") in (1, 2)
    assert asked == {"specs": 1, "maintenance": 1, "synthesis": 1}


async def test_odd_values_in_a_state_outlive_a_crash_and_the_turn(url: str, tmp_path: Path) -> None:
    graph = f"{ROOT / 'tests/orchestrator/odd_graph.py'}:graph"
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        folder.mkdir()
    async with ModelServer("never asked") as server:
        run_id = await killed(url, server, completed("make"), 0, str(first), graph)
    for folder in (first, second):
        (folder / "waited").touch()
    async with opened(url, graph) as engine:
        run = await engine.run(run_id)
        end = (await events_of(run))[-1]
        assert isinstance(end, RunComplete)
        assert end.text == "before: not there; now: nothing"
        assert (first / "executed").read_text().split() in (
            ["make", "wait", "wait"],
            ["make", "wait"],
        )
        end = (await events_of(await engine.start(str(second), thread_id=run.thread_id)))[-1]
        assert isinstance(end, RunComplete)
        assert end.text == "before: nothing; now: nothing"


def started(agent: str) -> Callable[[list[AnyEvent]], bool]:
    return lambda events: any(
        isinstance(event, AgentStart) and event.agent == agent for event in events
    )


def ended(events: list[AnyEvent]) -> bool:
    return any(isinstance(event, RunComplete) for event in events)


@pytest.mark.parametrize("stop", ["a", "b", "c", "d", "the end"])
async def test_a_state_loses_and_doubles_nothing_wherever_the_process_dies(
    url: str, tmp_path: Path, stop: str
) -> None:
    graph = f"{ROOT / 'tests/orchestrator/stopping_graph.py'}:graph"
    executed = tmp_path / "executed"
    async with opened(url, graph) as engine:
        run = await engine.start(f"{tmp_path}|1|-")
        await events_of(run)
    async with ModelServer("never asked") as server:
        seen = ended if stop == "the end" else started(stop)
        run_id = await killed(url, server, seen, 0, f"{tmp_path}|2|{stop}", graph, run.thread_id)
    (tmp_path / "go on").touch()
    async with opened(url, graph) as engine:
        run = await engine.run(run_id)
        await events_of(run)
        assert await run.status() == "completed"
        last = await engine.start(f"{tmp_path}|3|-", thread_id=run.thread_id)
        end = (await events_of(last))[-1]
        messages = await engine.messages(run.thread_id)
    assert isinstance(end, RunComplete)
    assert end.text == "1a (1b, 1c) 1d 2a (1b, 1c, 2b, 2c) 2d 3a (1b, 1c, 2b, 2c, 3b, 3c) 3d"
    assert [message.role for message in messages] == ["user", "assistant"] * 3
    times = Counter(executed.read_text().split())
    assert set(times) == {f"{turn}{node}" for turn in "123" for node in "abcd"}
    assert {name for name, count in times.items() if count > 1} <= {f"2{stop}"}, (
        "what was complete ran once"
    )


async def test_a_process_that_dies_in_every_turn_loses_and_doubles_nothing(
    url: str, tmp_path: Path
) -> None:
    graph = f"{ROOT / 'tests/orchestrator/stopping_graph.py'}:graph"
    thread: tuple[str, ...] = ()
    for turn, stop in enumerate("adcb", 1):
        async with ModelServer("never asked") as server:
            run_id = await killed(
                url, server, started(stop), 0, f"{tmp_path}|{turn}|{stop}", graph, *thread
            )
        (tmp_path / "go on").touch()
        async with opened(url, graph) as engine:
            run = await engine.run(run_id)
            end = (await events_of(run))[-1]
            thread = (run.thread_id,)
        (tmp_path / "go on").unlink()
    assert isinstance(end, RunComplete)
    noted = [f"{turn}{node}" for turn in "1234" for node in "bc"]
    turns = [f"{turn}a ({', '.join(noted[: 2 * turn])}) {turn}d" for turn in range(1, 5)]
    assert end.text == " ".join(turns)
