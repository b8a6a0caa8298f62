"""The way of a run's events into the log.

Events are buffered and committed one group at a time; while a commit is under way, further pieces of the same text
merge with the last one. So the first token leaves at once, and a burst costs few rows: chunking adapts by itself.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

import msgspec

from antiphon.data import transactions
from antiphon.data.database import Database
from antiphon.data.errors import Fenced, StorageError
from antiphon.data.records import (
    Checkpoint,
    CheckpointWrite,
    Fence,
    GraphState,
    Message,
    NewEvent,
    RunRecord,
    RunStatus,
    StoredCheckpoint,
)
from antiphon.orchestrator.clock import Clock, Observe, unobserved
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AnyEvent,
    Progress,
    RunAttempt,
    Usage,
    WorkflowUpdate,
    decode,
    encode,
)
from antiphon.orchestrator.recording.tracing import ModelAnswered, ModelAsked, Trace, untraced
from antiphon.orchestrator.recording.view import RunView

CheckpointRow = tuple[str, str, CheckpointWrite]
"""Namespace, checkpoint and one thing that a task wrote."""
INTERRUPT = "__interrupt__"
"""The channel of LangGraph's that a task writes to if it asks a human."""
HIGH_WATER = 64 * 1024
"""Characters of uncommitted text beyond which `drain` holds back whoever produces it."""


class _Pending(NamedTuple):
    """An event on its way: pieces of text are encoded late, because they may still grow."""

    event: AnyEvent
    at: int
    payload: bytes | None

    def numbered_next(self) -> NewEvent:
        """What the log is given."""
        return NewEvent(type=self.event.type, payload=self.payload or encode(self.event), at=self.at)


class RunWriter:
    """Writes one run under one fence. `emit` never waits; `drain` waits while the log is behind."""

    def __init__(
        self,
        log: Database,
        run: RunRecord,
        clock: Clock,
        view: RunView,
        observe: Observe = unobserved,
        trace: Trace = untraced,
    ) -> None:
        self.view = view
        """What the run adds up to, with everything emitted so far."""
        self.fence = Fence(run_id=run.id, epoch=run.lease_epoch)
        self.last_seq = run.first_seq
        """A number that everything emitted from now on will be above."""
        self.error: BaseException | None = None
        self.on_error: Callable[[], object] = lambda: None
        self._log = log
        self._clock = clock
        self._observe = observe
        self._trace = trace
        self._accepted_at: int | None = run.created_at if run.attempt <= 1 else None
        self._expected = run.emitted
        self._pending: list[_Pending] = []
        self._pending_text = 0
        self._held: dict[str, list[_Pending]] = {}
        self._questions: list[CheckpointRow] = []
        """What tasks wrote that ask a human; see `put_writes`."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._pump = asyncio.create_task(self._run(), name=f"writer {run.id}")

    def _is_here(self) -> bool:
        return threading.get_ident() == self._thread

    def on_loop(self, action: Callable[..., object], *args: Any) -> None:
        """Call a function in the loop's own thread: at once, or in turn if this is another thread."""
        if self._is_here():
            action(*args)
        else:
            self._loop.call_soon_threadsafe(action, *args)

    def emit(self, event: AnyEvent) -> None:
        """Queue an event. Progress never goes back, a workflow's updates come once; one span's pieces may merge.

        Raises `TypeError` for an event that cannot be stored.
        """
        if not self._is_here():  # a node that blocks runs in a thread of its own
            self._loop.call_soon_threadsafe(self.emit, event)
            return
        if self.view.is_late(event) or (isinstance(event, WorkflowUpdate) and event in self.view.updates):
            return
        if isinstance(event, Progress):
            event = msgspec.structs.replace(event, value=max(self.view.progress, min(event.value, 1.0)))
        pending = self._seen(event)
        if not (isinstance(event, AgentChunk) and self._merge(event)):
            self._pending.append(pending)
        self._wake.set()

    def hold(self, task: str, event: AnyEvent, inside: Collection[str] = ()) -> None:
        """Queue an event that may only be seen together with the result of a graph task.

        `task` is the task's path as LangGraph writes it: `node:task_id`, joined by `|` for the tasks of subgraphs. What
        is still held for tasks inside this one (of a subgraph without checkpoints) goes with it, in order. `inside`
        names such tasks that have another path: of a graph with a checkpointer of its own.
        """
        if not self._is_here():
            self._loop.call_soon_threadsafe(self.hold, task, event, frozenset(inside))
            return
        if self.view.is_late(event):
            return
        pending = self._seen(event)
        inner = [path for path in self._held if path.startswith(f"{task}|") or path in inside]
        held = [earlier for path in inner for earlier in self._held.pop(path)]
        self._held.setdefault(task, []).extend([*held, pending])

    def _seen(self, event: AnyEvent) -> _Pending:
        payload = None if isinstance(event, AgentChunk) else _readable(event)
        self.view.see(event)
        self._measure(event)
        at = self._clock()
        self._trace(event, at)
        return _Pending(event, at, payload)

    def note(self, call: ModelAsked | ModelAnswered) -> None:
        """Tell the trace of a model call, which the log knows only by what it says."""
        if not self._is_here():
            self._loop.call_soon_threadsafe(self.note, call)
            return
        self._trace(call, self._clock())

    def _measure(self, event: AnyEvent) -> None:
        match event:
            case AgentChunk():
                self._observe("chunk", 1)
                if event.channel == "answer" and self._accepted_at is not None:
                    self._observe("first_token", (self._clock() - self._accepted_at) / 1000)
                    self._accepted_at = None
            case AgentComplete(usage=Usage() as usage):
                self._observe("output_tokens", usage.output_tokens)
            case RunAttempt():
                self._observe("superseded", 1)

    def release(self) -> None:
        """Queue what is still held, now that the graph has stopped."""
        for path in list(self._held):
            self._pending.extend(self._held.pop(path))

    async def drain(self) -> None:
        """Wait while more text is uncommitted than is good: this holds back the model's stream."""
        if self._pending_text > HIGH_WATER and self._is_here():
            await _undisturbed(self.flush())

    async def flush(self) -> None:
        """Commit everything that was emitted so far."""
        if self._pending or self._lock.locked():
            await self._commit(
                lambda events: self._log.write(transactions.append, self.fence, self._expected, events), ()
            )

    async def put_writes(
        self, namespace: str, checkpoint_id: str, writes: Sequence[CheckpointWrite], completed: bool = True
    ) -> None:
        """Commit a task's result together with the events that announce it.

        What a task writes that asks a human waits for `pause`: its last answer counts as used only if its next question
        is stored. If a process died between the two, that answer would be given to the next question as well.
        """
        rows = [(namespace, checkpoint_id, write) for write in writes]
        if any(write.channel == INTERRUPT for write in writes):
            asking = {(place, write.task_id) for place, _, write in rows}
            self._questions = [row for row in self._questions if (row[0], row[2].task_id) not in asking] + rows
            return
        tasks = {write.task_id for write in writes}
        await _undisturbed(
            self._commit(
                lambda events: self._log.write(
                    transactions.append, self.fence, self._expected, events, rows, completed
                ),
                tasks,
            )
        )

    def writes_of(self, stored: StoredCheckpoint) -> list[CheckpointWrite]:
        """What tasks wrote at a stored checkpoint, with what waits for `pause`."""
        place = (stored.checkpoint.namespace, stored.checkpoint.id)
        waiting = {(write.task_id, write.position): write for *at, write in self._questions if tuple(at) == place}
        written = {(write.task_id, write.position): write for write in stored.writes}
        return list((written | waiting).values())

    async def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Commit a checkpoint, and what was emitted before it."""
        if any(_goes_on(checkpoint.namespace, row[0]) for row in self._questions):
            await self.store_questions()
        await _undisturbed(
            self._commit(
                lambda events: self._log.write(
                    transactions.put_checkpoint, self.fence, self._expected, events, checkpoint
                ),
                (),
            )
        )

    async def store_questions(self) -> None:
        """Commit what waits for `pause` now: the graph goes on without asking."""
        rows, self._questions = self._questions, []
        if rows:
            await _undisturbed(
                self._commit(
                    lambda events: self._log.write(transactions.append, self.fence, self._expected, events, rows), ()
                )
            )

    async def pause(self, message: Message | None, *last: AnyEvent) -> None:
        """Commit everything, the question last, with the run waiting for a human; `message` is its reply so far."""
        rows, self._questions = self._questions, []
        await self._commit(
            lambda events: self._log.write(transactions.pause, self.fence, self._expected, events, message, rows),
            None,
            last,
        )

    async def finish(
        self,
        status: RunStatus,
        message: Message | None,
        result: bytes,
        *last: AnyEvent,
        state: bytes | None = None,
        graph_state: GraphState | None = None,
    ) -> str | None:
        """Commit everything, the terminal event last, with the run's end. Returns the thread's next queued run.

        `state` and `graph_state` are for the thread's next run, as `transactions.finish` takes them.
        """
        tokens = self.view.usage.total_tokens
        successor: str | None = await self._commit(
            lambda events: self._log.write(
                transactions.finish,
                self.fence,
                self._expected,
                events,
                status=status,
                message=message,
                result=result,
                tokens=tokens,
                state=state,
                graph_state=graph_state,
            ),
            None,
            last,
        )
        return successor

    async def close(self) -> None:
        """Stop committing. What was not committed is lost: call `flush` or `finish` first.

        A plain function's thread may outlive its run. What it wants to store then is refused.
        """
        self.error = self.error or Fenced(self.fence.run_id)
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    def _merge(self, chunk: AgentChunk) -> bool:
        """Join a chunk with the last one of its span, if only chunks of others stand between them."""
        self._pending_text += len(chunk.text)
        for index in range(len(self._pending) - 1, -1, -1):
            other = self._pending[index].event
            if not isinstance(other, AgentChunk):
                return False
            if other.span == chunk.span:
                if (other.channel, other.part) != (chunk.channel, chunk.part):
                    return False
                longer = msgspec.structs.replace(other, text=other.text + chunk.text)
                self._pending[index] = self._pending[index]._replace(event=longer)
                return True
        return False

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.flush()
            except Exception as error:
                self._fail(error)
                return

    def _fail(self, error: BaseException) -> None:
        if self.error is None:
            self.error = error
            self.on_error()

    async def _commit(
        self,
        store: Callable[[list[NewEvent]], Awaitable[Any]],
        tasks: Collection[str] | None,
        last: Sequence[AnyEvent] = (),
    ) -> Any:
        """One commit at a time: pending events, then those held for `tasks` (all of them for None), then the last ones.

        The last events never wait among the pending ones, where another commit could take them along. A store that
        cannot take anything (disk full, locked) is asked again until it can: the append is safe to repeat.
        """
        async with self._lock:
            self._check()
            batch = self._take(tasks) + [self._seen(event) for event in last]
            events = [pending.numbered_next() for pending in batch]
            for delay in backoff():
                self._check()
                try:
                    result = await store(events)
                except Fenced as error:
                    self._observe("fenced", 1)
                    self._fail(error)
                    raise
                except StorageError:
                    await asyncio.sleep(delay)
                else:
                    self._expected += len(events)
                    if isinstance(result, int) and result:
                        self.last_seq = result
                    return result
        return None

    def _check(self) -> None:
        if self.error is not None:
            raise self.error

    def _take(self, tasks: Collection[str] | None) -> list[_Pending]:
        batch, self._pending, self._pending_text = self._pending, [], 0
        for path in list(self._held):
            if tasks is None or path.rpartition(":")[2] in tasks:
                batch.extend(self._held.pop(path))
        return batch


def _readable(event: AnyEvent) -> bytes:
    """An event as it is stored. Raises `TypeError` for one that could not be read again."""
    payload = encode(event)
    try:
        decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TypeError(f"{event.type} cannot be stored: {error}") from error
    return payload


def _goes_on(namespace: str, asking: str) -> bool:
    """Whether a new checkpoint of a graph means that a question inside it was dealt with there."""
    return not namespace or asking == namespace or asking.startswith(f"{namespace}|")


async def _undisturbed(commit: Coroutine[Any, Any, Any]) -> None:
    """Wait for a commit that runs to its end even when the graph that asked for it is cancelled meanwhile."""
    await asyncio.shield(asyncio.ensure_future(commit))


def backoff() -> Iterator[float]:
    """Pauses in seconds between attempts to store something, without end."""
    return chain((0.05, 0.1, 0.2, 0.5), repeat(1.0))
