"""A run as callers hold it: follow it, wait for it, answer it, stop it.

The run itself outlives its connection and its process.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import msgspec

from antiphon.data.records import RunRecord, RunStatus
from antiphon.orchestrator.errors import NoAnswer
from antiphon.orchestrator.events import (
    AnyEvent,
    Interrupt,
    Recorded,
    RunCancelled,
    RunComplete,
    RunError,
)

if TYPE_CHECKING:
    from antiphon.orchestrator.engine.engine import Engine

_result = msgspec.json.Decoder(RunComplete | RunError | RunCancelled)


class RunFailed(NoAnswer):
    """The run ended without a full answer. `event` is its terminal event, with the partial text.

    `code` and `message` are those of the event; a cancelled run has the code of `NoAnswer`.
    """

    def __init__(self, event: RunError | RunCancelled) -> None:
        if isinstance(event, RunError):
            super().__init__(event.message)
            self.code = event.code
        else:
            super().__init__(f"cancelled by {event.by}")
        self.event = event


class Run:
    """A handle on one run. Iterating it yields its recorded events, from the first to the last.

    `created` is False if an idempotency key led to an earlier run; `answered` is the number of the
    question that the message answered, 0 for an ordinary message; `message_id` is the message's.
    """

    def __init__(
        self,
        engine: Engine,
        record: RunRecord,
        *,
        created: bool = True,
        answered: int = 0,
        message_id: str | None = None,
    ) -> None:
        self.id = record.id
        self.thread_id = record.thread_id
        self.message_id = message_id or record.input_message_id
        self.graph = record.graph
        self.first_seq = record.first_seq
        self.user_id = record.user_id
        self.queued = record.status == "queued"
        """Whether it was queued when it was accepted, for example after an earlier run."""
        self.created = created
        self.answered = answered
        self._engine = engine

    def __repr__(self) -> str:
        return f"<Run {self.id} of thread {self.thread_id}>"

    def __aiter__(self) -> AsyncIterator[Recorded]:
        return self.events()

    async def events(self, after: int = 0) -> AsyncIterator[Recorded]:
        """Yield recorded events with `seq > after`, as they are committed.

        Ends with the run, or with its open question.
        """
        async for batch in self.batches(after):
            for event in batch:
                yield event

    def batches(self, after: int = 0, tick: float | None = None) -> AsyncIterator[list[Recorded]]:
        """Like `events`, in bounded lists; an empty one every `tick` seconds."""
        after = max(after, self.first_seq - 1)
        return self._engine.follow(self.thread_id, after, run_id=self.id, tick=tick)

    async def wait(self) -> RunComplete | RunError | RunCancelled | None:
        """Return the terminal event, once there is one; None if the run waits for a human."""
        async for batch in self.batches():
            if isinstance(end := batch[-1].event, RunComplete | RunError | RunCancelled):
                return end
        return None

    async def text(self) -> str:
        """Return the whole answer, or the text of an open question. Raises `RunFailed`."""
        last: AnyEvent | None = None
        async for batch in self.batches():
            last = batch[-1].event
        if isinstance(last, RunError | RunCancelled):
            raise RunFailed(last)
        return last.text if isinstance(last, RunComplete | Interrupt) else ""

    async def status(self) -> RunStatus:
        """Return the run's status now."""
        return (await self._engine.record(self.id, self.user_id)).status

    async def result(self) -> RunComplete | RunError | RunCancelled | None:
        """Return the terminal event if the run has ended, or else None. Does not wait."""
        record = await self._engine.record(self.id, self.user_id)
        return _result.decode(record.result) if record.result is not None else None

    def cancel(self) -> asyncio.Task[None]:
        """Begin to stop the run. Awaiting the task waits until the request is stored."""
        return asyncio.ensure_future(self._engine.cancel(self.id, self.user_id))

    async def answer(self, answer: Any, question: str | None = None) -> None:
        """Answer the open question with this id, or the oldest one. Raises as `Engine.answer`."""
        await self._engine.answer(self.id, answer, self.user_id, question=question)
