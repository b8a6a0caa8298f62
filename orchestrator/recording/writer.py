"""Buffers a run's events and commits them in groups.

While one group is being committed, further pieces of the same text are joined in the next one. So
the first token leaves at once, and a burst costs few rows: pieces adapt to the database's speed.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Sequence
from itertools import chain, repeat
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

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
from antiphon.data.transactions import Transaction
from antiphon.orchestrator.environment import Environment
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

P = ParamSpec("P")
T = TypeVar("T")
Store = Callable[[list[NewEvent]], Awaitable[T]]
"""Stores events, which may be none, with what belongs to them."""
CheckpointRow = tuple[str, str, CheckpointWrite]
"""Namespace, checkpoint id and one write of a task."""
INTERRUPT = "__interrupt__"
"""LangGraph's channel for a task that asks a human."""
HIGH_WATER = 64 * 1024
"""Characters of uncommitted text above which `drain` waits."""


class _Pending(NamedTuple):
    """An event that is not committed yet. Pieces of text are encoded late, as they may grow."""

    event: AnyEvent
    at: int
    payload: bytes | None

    def to_record(self) -> NewEvent:
        """Return the event as the log takes it."""
        payload = self.payload or encode(self.event)
        return NewEvent(type=self.event.type, payload=payload, at=self.at)


class RunWriter:
    """Writes one run under one fence. `emit` never waits; `drain` waits while the log is slow."""

    def __init__(
        self,
        log: Database,
        run: RunRecord,
        environment: Environment,
        view: RunView,
        trace: Trace = untraced,
    ) -> None:
        self.view = view
        """The state of the run, with everything emitted so far."""
        self.fence = Fence(run_id=run.id, epoch=run.lease_epoch)
        self.last_seq = run.first_seq
        """A number below those of all events that are emitted from now on."""
        self.error: BaseException | None = None
        self.on_error: Callable[[], object] = lambda: None
        self._log = log
        self._clock = environment.clock
        self._observe = environment.observe
        self._trace = trace
        self._accepted_at: int | None = run.created_at if run.attempt <= 1 else None
        self._expected = run.emitted
        self._pending: list[_Pending] = []
        self._pending_text = 0
        self._held: dict[str, list[_Pending]] = {}
        self._questions: list[CheckpointRow] = []
        """Writes of tasks that ask a human; see `put_writes`."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._lock = asyncio.Lock()
        self._wake = asyncio.Event()
        self._pump = asyncio.create_task(self._run(), name=f"writer {run.id}")

    # -- events ------------------------------------------------------------------------------------

    def _is_here(self) -> bool:
        return threading.get_ident() == self._thread

    def on_loop(self, action: Callable[..., object], *args: Any) -> None:
        """Call a function on the loop's thread: at once, or later if this is another thread."""
        if self._is_here():
            action(*args)
        else:
            self._loop.call_soon_threadsafe(action, *args)

    def emit(self, event: AnyEvent) -> None:
        """Queue an event. Pieces of one span may merge.

        Progress never goes back, and a workflow's update is stored once. Raises `TypeError` for an
        event that cannot be stored.
        """
        if not self._is_here():  # a node that is a plain function runs in a thread of its own
            self._loop.call_soon_threadsafe(self.emit, event)
            return
        is_repeated = isinstance(event, WorkflowUpdate) and event in self.view.updates
        if is_repeated or self.view.is_late(event):
            return
        if isinstance(event, Progress):
            value = max(self.view.progress, min(event.value, 1.0))
            event = msgspec.structs.replace(event, value=value)
        pending = self._seen(event)
        if not (isinstance(event, AgentChunk) and self._merge(event)):
            self._pending.append(pending)
        self._wake.set()

    def hold(self, task: str, event: AnyEvent, inside: Collection[str] = ()) -> None:
        """Queue an event that is committed together with the result of a graph's task.

        `task` is the task's path as LangGraph writes it: `node:task_id`, joined by `|` for tasks of
        subgraphs. Events that are held for tasks inside it (of a subgraph without checkpoints) are
        committed before it. `inside` names such tasks that have another path: those of a graph with
        a checkpointer of its own.
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
        """Report a call of a model to the trace. The log has only the text of the answer."""
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
        """Queue all events that are held, after the graph has stopped."""
        for path in list(self._held):
            self._pending.extend(self._held.pop(path))

    async def drain(self) -> None:
        """Wait while much text is uncommitted, which holds back the model's stream."""
        if self._pending_text > HIGH_WATER and self._is_here():
            await _undisturbed(self.flush())

    # -- commits -----------------------------------------------------------------------------------

    async def flush(self) -> None:
        """Commit all events that were emitted so far."""
        if self._pending or self._lock.locked():
            await self._commit(self._fenced(transactions.append))

    async def put_writes(
        self,
        namespace: str,
        checkpoint_id: str,
        writes: Sequence[CheckpointWrite],
        completed: bool = True,
    ) -> None:
        """Commit a task's result together with the events that announce it.

        The writes of a task that asks a human are kept for `pause`: its last answer counts as used
        only if its next question is stored. If a process died between the two, the same answer
        would be given to the next question as well.
        """
        rows = [(namespace, checkpoint_id, write) for write in writes]
        if any(write.channel == INTERRUPT for write in writes):
            asking = {(place, write.task_id) for place, _, write in rows}
            others = [row for row in self._questions if (row[0], row[2].task_id) not in asking]
            self._questions = others + rows
            return
        tasks = {write.task_id for write in writes}
        store = self._fenced(transactions.append, rows, completed)
        await _undisturbed(self._commit(store, tasks))

    def writes_of(self, stored: StoredCheckpoint) -> list[CheckpointWrite]:
        """Return what tasks wrote at a stored checkpoint, with the writes kept for `pause`."""
        place = (stored.checkpoint.namespace, stored.checkpoint.id)
        writes = {(write.task_id, write.position): write for write in stored.writes}
        for namespace, checkpoint_id, write in self._questions:
            if (namespace, checkpoint_id) == place:
                writes[write.task_id, write.position] = write
        return list(writes.values())

    async def put_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Commit a checkpoint, and the events that were emitted before it."""
        if any(_goes_on(checkpoint.namespace, row[0]) for row in self._questions):
            await self.store_questions()
        await _undisturbed(self._commit(self._fenced(transactions.put_checkpoint, checkpoint)))

    async def store_questions(self) -> None:
        """Commit the writes kept for `pause` now, as the graph goes on without asking."""
        rows, self._questions = self._questions, []
        if rows:
            await _undisturbed(self._commit(self._fenced(transactions.append, rows)))

    async def pause(self, message: Message | None, *last: AnyEvent) -> None:
        """Commit everything, with the run waiting for a human. The last event is the question.

        `message` is the run's reply so far.
        """
        rows, self._questions = self._questions, []
        await self._commit(self._fenced(transactions.pause, message, rows), None, last)

    async def finish(
        self,
        status: RunStatus,
        message: Message | None,
        result: bytes,
        *last: AnyEvent,
        state: bytes | None = None,
        graph_state: GraphState | None = None,
    ) -> str | None:
        """Commit everything, with the run's end. The last event is the terminal one.

        `state` and `graph_state` are for the thread's next run, as `transactions.finish` takes
        them. Returns the id of the thread's next queued run.
        """
        store = self._fenced(
            transactions.finish,
            status=status,
            message=message,
            result=result,
            tokens=self.view.usage.total_tokens,
            state=state,
            graph_state=graph_state,
        )
        return await self._commit(store, None, last)

    async def close(self) -> None:
        """Stop committing. Uncommitted events are lost: call `flush` or `finish` first.

        The thread of a plain function may outlive its run. It can store nothing after this.
        """
        self.error = self.error or Fenced(self.fence.run_id)
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    def _merge(self, chunk: AgentChunk) -> bool:
        """Join a piece with the last one of its span, if only pieces of others are in between."""
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

    def _fenced(
        self,
        command: Callable[Concatenate[Transaction, Fence, int, Sequence[NewEvent], P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Store[T]:
        """Return what writes events by a function of `transactions`, after those before them."""

        async def store(events: list[NewEvent]) -> T:
            return await self._log.write(
                command, self.fence, self._expected, events, *args, **kwargs
            )

        return store

    async def _commit(
        self, store: Store[T], tasks: Collection[str] | None = (), last: Sequence[AnyEvent] = ()
    ) -> T:
        """Commit pending events, then those held for `tasks` (all of them for None), then `last`.

        There is one commit at a time. The last events are never pending, so that no other commit
        can take them. A database that cannot store anything (disk full, locked) is tried again
        until it can: the append is safe to repeat.
        """
        async with self._lock:
            self._check()
            batch = self._take(tasks) + [self._seen(event) for event in last]
            events = [pending.to_record() for pending in batch]
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
        raise AssertionError("there is always one more delay")

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
    """Encode an event. Raises `TypeError` for one that could not be read again."""
    payload = encode(event)
    try:
        decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TypeError(f"{event.type} cannot be stored: {error}") from error
    return payload


def _goes_on(namespace: str, asking: str) -> bool:
    """Return whether a checkpoint in `namespace` ends a question asked in namespace `asking`."""
    return not namespace or asking == namespace or asking.startswith(f"{namespace}|")


async def _undisturbed(commit: Coroutine[Any, Any, Any]) -> None:
    """Wait for a commit, which completes even if the graph that asked for it is cancelled."""
    await asyncio.shield(asyncio.ensure_future(commit))


def backoff() -> Iterator[float]:
    """Yield the seconds to wait between attempts to store something, without end."""
    return chain((0.05, 0.1, 0.2, 0.5), repeat(1.0))
