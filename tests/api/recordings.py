"""Runs as they were really recorded, one of each kind:

by an engine, the team, a model server, a killed process.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from antiphon import open_engine
from antiphon.orchestrator.engine.engine import Engine
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.events import AgentChunk, Recorded
from antiphon.orchestrator.models import chat_model
from tests.orchestrator.support import begin
from tests.support.model_server import Reply
from tests.support.server import GRAPHS, Teller, model_environment, model_settings, server_process

REFUSED = Reply(status=400, error="no")
Recorder = Callable[["Studio"], Awaitable[Run]]


class Studio:
    """An engine with the team, and the model that it asks."""

    def __init__(self, engine: Engine, teller: Teller) -> None:
        self.engine = engine
        self.teller = teller

    async def finished(self, run: Run) -> Run:
        await run.wait()
        return run

    async def until_text(self, run: Run) -> None:
        """Wait until something of the answer is recorded."""
        async for recorded in run:
            if isinstance(recorded.event, AgentChunk) and recorded.event.channel == "answer":
                return


async def _plain(studio: Studio) -> Run:
    question = studio.teller.answer("record: plain", "A plain answer,\nin two lines. 🙂")
    return await studio.finished(await studio.engine.start(question))


async def _second_turn(studio: Studio) -> Run:
    first = await studio.finished(await studio.engine.start("record: first turn"))
    return await studio.finished(
        await studio.engine.start("record: second turn", thread_id=first.thread_id)
    )


async def _multi_part(studio: Studio) -> Run:
    question = studio.teller.answer("record: several", "Both together.")
    studio.teller.answer(question, "A draft about service.", agent="maintenance specialist")
    studio.teller.answer(question, "A draft about figures.", agent="specification specialist")
    run = await begin(
        studio.engine,
        question,
        primary="specs",
        supporting=["maintenance"],
        mode="collaborative",
        dialect="multi_agent",
        options={"stream_supporting": True},
    )
    return await studio.finished(run)


async def _failing_specialist(studio: Studio) -> Run:
    question = studio.teller.answer("record: one fails", "What is left.")
    studio.teller.answer(question, REFUSED, agent="maintenance specialist")
    return await studio.finished(
        await begin(studio.engine, question, primary="specs", supporting=["maintenance"])
    )


async def _failing_primary(studio: Studio) -> Run:
    """The specialist fails in the middle of its answer; the synthesis takes over with another text."""
    question = studio.teller.answer("record: primary fails", "Somebody else's answer.")
    broken = Reply("This was meant to be the answer", fail_after=3)
    studio.teller.answer(question, broken, agent="specification specialist")
    return await studio.finished(await begin(studio.engine, question, primary="specs"))


async def _retry_that_diverges(studio: Studio) -> Run:
    question = studio.teller.answer(
        "record: retry", Reply("One two three four", fail_after=3), "One two, then seven."
    )
    return await studio.finished(await begin(studio.engine, question, primary="specs"))


async def _retry_that_repeats(studio: Studio) -> Run:
    question = studio.teller.answer(
        "record: repeat", Reply("One two three four", fail_after=3), "One two three four."
    )
    return await studio.finished(await begin(studio.engine, question, primary="specs"))


async def _cancelled(studio: Studio) -> Run:
    gate = threading.Event()
    question = studio.teller.answer(
        "record: cancel", Reply("Stop me if you can", gate=gate, gate_at=3)
    )
    run = await begin(studio.engine, question, primary="specs")
    await studio.until_text(run)
    await studio.engine.cancel(run.id)
    await studio.finished(run)
    gate.set()
    return run


async def _cancelled_in_the_queue(studio: Studio) -> Run:
    gate = threading.Event()
    question = studio.teller.answer(
        "record: before", Reply("Let the next one wait", gate=gate, gate_at=1)
    )
    before = await begin(studio.engine, question, primary="specs")
    waiting = await studio.engine.start("record: never begun", thread_id=before.thread_id)
    await studio.engine.cancel(waiting.id)
    gate.set()
    await studio.finished(before)
    return waiting


async def _error(studio: Studio) -> Run:
    question = studio.teller.answer("record: error", REFUSED)
    return await studio.finished(await begin(studio.engine, question, primary="specs"))


async def _error_after_text(studio: Studio) -> Run:
    question = studio.teller.answer(
        "record: late error", Reply("Half an answer is", fail_after=2), REFUSED
    )
    return await studio.finished(await begin(studio.engine, question, primary="specs"))


async def _own_graph(studio: Studio) -> Run:
    return await studio.finished(await studio.engine.start("an own graph", graph="asking"))


async def _interrupt_and_answer(studio: Studio) -> Run:
    run = await studio.finished(await studio.engine.start("ask me", graph="asking"))
    await studio.engine.answer(run.id, "Merula")
    return await studio.finished(run)


async def _open_question(studio: Studio) -> Run:
    return await studio.finished(await studio.engine.start("ask me", graph="asking"))


KINDS: dict[str, Recorder] = {
    "plain": _plain,
    "second_turn": _second_turn,
    "multi_part": _multi_part,
    "failing_specialist": _failing_specialist,
    "failing_primary": _failing_primary,
    "retry_that_diverges": _retry_that_diverges,
    "retry_that_repeats": _retry_that_repeats,
    "cancelled": _cancelled,
    "cancelled_in_the_queue": _cancelled_in_the_queue,
    "error": _error,
    "error_after_text": _error_after_text,
    "own_graph": _own_graph,
    "interrupt_and_answer": _interrupt_and_answer,
    "open_question": _open_question,
}
CRASHES = {
    "crash_that_diverges": "One two, then seven.",
    "crash_that_repeats": "One two three four five.",
}
EVERY_KIND = [*KINDS, *CRASHES]
SUPERSEDED = {"failing_primary", "retry_that_diverges", "error_after_text", "crash_that_diverges"}
"""Kinds in which text that was shown was replaced by another one."""


def record(folder: Path, teller: Teller) -> dict[str, list[Recorded]]:
    """The events of one run of each kind."""
    recordings = asyncio.run(_record_kinds(folder, teller))
    place = folder / "crash"
    place.mkdir()
    return recordings | asyncio.run(_recovered(place, teller, _crash(place, teller)))


async def _record_kinds(folder: Path, teller: Teller) -> dict[str, list[Recorded]]:
    async with _engine(folder, teller, graphs=[f"{GRAPHS}:asking"]) as engine:
        studio = Studio(engine, teller)
        engine.catalogue.default = "team"
        runs = await asyncio.gather(*(record(studio) for record in KINDS.values()))
        return {kind: [one async for one in run] for kind, run in zip(KINDS, runs, strict=True)}


def _crash(folder: Path, teller: Teller) -> dict[str, str]:
    """kill -9 a server while it shows answers.

    Returns the runs, which go on elsewhere with their second text.
    """
    gate = threading.Event()
    runs: dict[str, str] = {}
    with (
        server_process(folder, model_environment(teller)) as server,
        httpx.Client(base_url=server.url) as client,
    ):
        for kind, second_text in CRASHES.items():
            question = teller.answer(
                f"record: {kind}", Reply("One two three four", gate=gate, gate_at=3), second_text
            )
            body = {"message": question, "agents": {"primary": "specs"}}
            runs[kind] = client.post("/api/v1/runs", json=body).json()["run_id"]
            _until_shown(client, runs[kind], "One two three ")
        server.kill()
    gate.set()
    return runs


def _until_shown(client: httpx.Client, run_id: str, text: str) -> None:
    """Read a run's events until so much of its answer was shown."""
    with client.stream("GET", f"/api/v1/runs/{run_id}/events", timeout=15) as response:
        shown = ""
        for line in response.iter_lines():
            event: dict[str, Any] = json.loads(line[6:]) if line.startswith("data: ") else {}
            shown += event["text"] if event.get("type") == "agent_chunk" else ""
            if shown == text:
                return
    raise AssertionError("the stream ended")


async def _recovered(
    folder: Path, teller: Teller, runs: dict[str, str]
) -> dict[str, list[Recorded]]:
    async with _engine(folder, teller) as engine:
        return {
            kind: [one async for one in await engine.run(run_id)] for kind, run_id in runs.items()
        }


@asynccontextmanager
async def _engine(folder: Path, teller: Teller, **given: Any) -> AsyncIterator[Engine]:
    settings = model_settings(teller)
    model: Any = chat_model(
        settings["model"], api_key=settings["openai_api_key"], base_url=settings["openai_base_url"]
    )
    async with open_engine(f"sqlite:///{folder / 'log.db'}", model=model, **given) as engine:
        yield engine
    await model.root_async_client.close()
