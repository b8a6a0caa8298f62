"""A run as callers hold it: follow it, wait for it, answer it, stop it. It survives its connection and its process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon.data.records import RunStatus
from antiphon.orchestrator.events import AnyEvent, Interrupt, Recorded, RunCancelled, RunComplete, RunError

if TYPE_CHECKING:
    from antiphon.orchestrator.engine.engine import Engine

_result = msgspec.json.Decoder(RunComplete | RunError | RunCancelled)


class RunFailed(Exception):
    """The run ended without a full answer. `event` is its terminal event, with code and partial text."""

    def __init__(self, event: RunError | RunCancelled) -> None:
        super().__init__(event.message if isinstance(event, RunError) else f"cancelled by {event.by}")
        self.event = event


class Run:
    """A handle on one run. Iterating it gives its recorded events, from the first to the terminal one.

    `created` is False when an idempotency key led to a run that was there before; `answered` is the number of the
    question that this message answered, 0 for an ordinary message; `message_id` is the message.
    """

    def __init__(
        self, engine: Engine, record: Any, *, created: bool = True, answered: int = 0, message_id: str | None = None
    ) -> None:
        self.id: str = record.id
        self.thread_id: str = record.thread_id
        self.message_id: str = message_id or record.input_message_id
        self.graph: str = record.graph
        self.first_seq: int = record.first_seq
        self.user_id: str = record.user_id
        self.queued: bool = record.status == "queued"
        """Whether it waited for its thread's earlier runs when it was accepted."""
        self.created = created
        self.answered = answered
        self._engine = engine

    def __repr__(self) -> str:
        return f"<Run {self.id} of thread {self.thread_id}>"

    def __aiter__(self) -> AsyncIterator[Recorded]:
        return self.events()

    async def events(self, after: int = 0) -> AsyncIterator[Recorded]:
        """Recorded events with `seq > after`, as they are committed. Ends with the run, or with its open question."""
        async for batch in self.batches(after):
            for event in batch:
                yield event

    def batches(self, after: int = 0, tick: float | None = None) -> AsyncIterator[list[Recorded]]:
        """Like `events`, but everything that is there at once, in bounded lists; an empty one every `tick` seconds."""
        return self._engine.follow(self.thread_id, max(after, self.first_seq - 1), run_id=self.id, tick=tick)

    async def wait(self) -> RunComplete | RunError | RunCancelled | None:
        """The terminal event, once there is one; None when the run waits for a human instead."""
        async for batch in self.batches():
            if isinstance(end := batch[-1].event, RunComplete | RunError | RunCancelled):
                return end
        return None

    async def text(self) -> str:
        """The whole answer. Raises `RunFailed` where there is none; an open question is returned as text."""
        last: AnyEvent | None = None
        async for batch in self.batches():
            last = batch[-1].event
        if isinstance(last, RunError | RunCancelled):
            raise RunFailed(last)
        return last.text if isinstance(last, RunComplete | Interrupt) else ""

    async def status(self) -> RunStatus:
        """Where the run stands now."""
        return (await self._engine.record(self.id, self.user_id)).status

    async def result(self) -> RunComplete | RunError | RunCancelled | None:
        """The terminal event where the run has ended; else None, without waiting."""
        record = await self._engine.record(self.id, self.user_id)
        return _result.decode(record.result) if record.result is not None else None

    def cancel(self) -> asyncio.Task[None]:
        """Stop the run. It is under way when this returns; awaiting the result waits for the request to be stored."""
        return asyncio.ensure_future(self._engine.cancel(self.id, self.user_id))

    async def answer(self, answer: Any, question: str | None = None) -> None:
        """Answer a question that the run waits with, by its id, or the oldest one. Raises as `Engine.answer` does."""
        await self._engine.answer(self.id, answer, self.user_id, question=question)
