"""The engine: accepts messages, executes runs in the background, lets anyone follow them, recovers them after a crash.

It is the only writer of the log. Connections, notebooks and tests are its readers.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from antiphon.data import reads, transactions
from antiphon.data import records as data_records
from antiphon.data.database import Database
from antiphon.data.errors import Busy, IdempotencyConflict, NotFound
from antiphon.data.hints import Watch
from antiphon.data.ids import new_id, same_id
from antiphon.data.records import Acceptance, Message, NewEvent, Thread, may
from antiphon.orchestrator.engine.environment import DEFAULT_ENVIRONMENT, Environment
from antiphon.orchestrator.engine.execution import body_of, recorded
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.engine.runner import Runner
from antiphon.orchestrator.errors import NotInterrupted, UnknownGraph
from antiphon.orchestrator.events import (
    AnyEvent,
    Interrupt,
    InterruptAnswered,
    MessageSaved,
    Recorded,
    RunCancelled,
    RunStart,
    as_text,
    encode,
)
from antiphon.orchestrator.flows.conversation import bound_flow
from antiphon.orchestrator.flows.library import PREFIX, FlowLibrary
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.profiles import Profile, checked_profile, decode_profile, encode_profile
from antiphon.orchestrator.questions.questions import read_answer
from antiphon.orchestrator.recording.tracing import checked_traceparent
from antiphon.orchestrator.request import (
    LOCAL,
    LOCAL_USER,
    Caller,
    Request,
    User,
    checked,
    checked_object,
    checked_title,
    checked_value,
)

log = logging.getLogger("antiphon.engine")
audit = logging.getLogger("antiphon.audit")

BATCH_EVENTS = 64
BATCH_BYTES = 64 * 1024
"""A reader is given at most this much at once."""
DELETE_SECONDS = 10.0
"""How long deleting a thread waits for its runs to end."""


class _Answer(NamedTuple):
    """An answer to a run that waits, from a user, perhaps to a certain question.

    `once` is `(user, key, digest)` of a request that may come again.
    """

    value: Any
    by: str
    once: tuple[str, str, bytes] | None = None
    question: str | None = None


class Engine:
    """Runs graphs against one database. Make it with `open_engine`."""

    def __init__(
        self,
        database: Database,
        graphs: Sequence[ServedGraph],
        *,
        flows: FlowLibrary | None = None,
        environment: Environment = DEFAULT_ENVIRONMENT,
    ) -> None:
        if not graphs:
            raise ValueError("an engine needs a graph to serve")
        self.flows = flows
        """Graphs that users have defined; None where there are none."""
        self.graphs = {served.name: served for served in graphs}
        if len(self.graphs) < len(graphs):
            raise ValueError(f"graphs need names of their own: {', '.join(served.name for served in graphs)}")
        self.default_graph = graphs[0].name
        self.database = database
        self.environment = environment
        self._runner = Runner(database, self._graph, environment)
        self.draining = False
        """Whether readers are being sent away, to come back to another process."""

    # -- runs ---------------------------------------------------------------------------------------------------

    async def start(
        self,
        message: str,
        *,
        user: str = LOCAL_USER,
        thread_id: str | None = None,
        graph: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        context: Mapping[str, Any] | None = None,
    ) -> Run:
        """Accept a message and begin to answer it; for what else can be asked with one see `Request` and `accept`.

        `inputs` fill other fields of the graph's input than the message does, `context` its `context_schema`.
        Raises what `accept` raises.
        """
        request = Request(
            message=message,
            thread_id=thread_id,
            graph=graph,
            inputs=checked_object(inputs, "The inputs"),
            context=checked_object(context, "The context"),
        )
        return await self.accept(request, User(user))

    async def accept(self, request: Request, by: Caller = LOCAL) -> Run:
        """Store a request and begin to answer it. When this returns, message and run are stored for good.

        A message for a thread whose run waits for a human is the human's answer. Raises `EmptyMessage`, `TooLarge`,
        `BadRequest`, `BadInput`, `BadContext`, `UnknownGraph`, `UnknownAgent`, `NotFound`, `Busy`,
        `IdempotencyConflict`, `StorageError`.
        """
        request, key = checked(request, by.access), request.idempotency_key
        if key and (earlier := await self._accepted_before(by.id, key, request.digest)):
            return earlier
        thread = await self._known_thread(by.id, request.thread_id, request.name_in_dialect)
        if thread is not None and (waiting := await self.database.fetch(reads.waiting_run, thread.id)):
            once = (by.id, key, request.digest) if key else None
            return await self._answer(waiting, _Answer(request.message, by.id, once))
        served = await self._chosen(request.graph or await self._flow_of(thread), by.id)
        served.check_agents(request.primary, *request.supporting)
        served.check(request, thread is None or thread.head_message_id is None)
        accepted = await self.database.write(transactions.accept, await self._acceptance(request, by, served))
        if accepted.created and accepted.run.owner == self.database.worker_id:
            self._runner.spawn(accepted.run, served)
        for interrupted in accepted.interrupted:
            await self.cancel(interrupted, by.id)
        return Run(self, accepted.run, created=accepted.created)

    async def _acceptance(self, request: Request, by: Caller, served: ServedGraph) -> Acceptance:
        """What is stored of a request, with its run and their first events."""
        key, reply_id = request.idempotency_key, new_id()
        stored = msgspec.structs.replace(  # no request differs by these two, and no event shows them
            request, profile=await self.profile(by.id), traceparent=checked_traceparent(request.traceparent)
        )

        def first_events(thread: Thread, message: Message) -> list[NewEvent]:
            start = RunStart(input=request.shown, graph=served.name, dialect=request.dialect, reply_id=reply_id)
            at = message.created_at
            return [_event_at(at, start), _event_at(at, MessageSaved(message=body_of(message)))]

        return Acceptance(
            run_id=new_id(),
            message_id=request.message_id or new_id(),
            reply_message_id=reply_id,
            user_id=by.id,
            graph=served.name,
            content=request.message,
            input=msgspec.json.encode(stored),
            at=self.environment.clock(),
            worker=self.database.worker_id,
            events=first_events,
            thread_id=request.thread_id,
            thread_name=request.name_in_dialect,
            idempotency=(key, request.digest) if key else None,
            on_busy=request.on_busy,
        )

    async def _accepted_before(self, user: str, key: str, digest: bytes) -> Run | None:
        """The run of the same request, if this key was used for one, as it was given to whoever asked first."""
        try:
            record = await self.database.write(transactions.repeated, user, key, digest)
        except IdempotencyConflict:
            return None  # an answer's key, or a conflict, which whoever stores it will tell
        return await self._repeated(record, user, key) if record is not None else None

    async def _repeated(self, record: data_records.RunRecord, user: str, key: str) -> Run:
        """The run of a request that came again: where it was an answer, from behind the question on."""
        question, message_id = 0, _answer_id(user, key)
        async for one in self._so_far(record):
            if isinstance(one.event, Interrupt):
                question = one.seq
            elif isinstance(one.event, InterruptAnswered) and one.event.message_id == message_id:
                return Run(self, record, created=False, answered=question, message_id=message_id)
        return Run(self, record, created=False)

    async def _so_far(self, record: data_records.RunRecord) -> AsyncIterator[Recorded]:
        """What a run has recorded by now."""
        after = record.first_seq - 1
        while rows := await self.database.read(record.thread_id, after, BATCH_EVENTS):
            after = rows[-1].seq
            for row in rows:
                if row.run_id == record.id:
                    yield recorded(row)

    async def run(self, run_id: str, user: str = LOCAL_USER) -> Run:
        """A run by id, whoever started it in this user's name. Raises `NotFound`."""
        return Run(self, await self.record(run_id, user), created=False)

    async def record(self, run_id: str, user: str) -> data_records.RunRecord:
        """A run's stored record. Raises `NotFound`."""
        record = await self.database.fetch(reads.run, run_id)
        if record is None or not may(user, record):
            if record is not None:
                audit.warning("refused another user's run", extra={"user": user, "run_id": run_id})
            raise NotFound
        return record

    async def cancel(self, run_id: str, user: str = LOCAL_USER) -> None:
        """Stop a run; one that has ended stays as it is. Raises `NotFound`."""
        await self.record(run_id, user)
        end = RunCancelled(by=user)
        record = await self.database.write(transactions.cancel, run_id, user, [self._new_event(end)], encode(end))
        if self._runner.cancel(run_id, user):
            return
        if record.status == "queued" and (ending := await self._runner.take_up(run_id)) is not None:
            await asyncio.wait([ending])  # it had said something already, which is for its execution to keep

    async def answer(
        self,
        run_id: str,
        answer: Any,
        user: str = LOCAL_USER,
        *,
        question: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Answer a question that a run waits with: the one with id `question`, or the oldest one.

        An object whose keys are ids of open questions answers all of these. The others stay open. Raises
        `NotFound`, `NotInterrupted`, `BadRequest`; and `UnknownQuestion`, `AnswerUnclear` and `AnswerInvalid`,
        after which the run waits as before.
        """
        waiting, answer = await self.record(run_id, user), checked_value(answer, "The answer")
        request = [waiting.id, answer, *([question] if question is not None else [])]
        digest = hashlib.sha256(msgspec.json.encode(request)).digest()
        once = (user, idempotency_key, digest) if idempotency_key else None
        return await self._answer(waiting, _Answer(answer, user, once, question))

    async def _answer(self, waiting: data_records.RunRecord, given: _Answer) -> Run:
        if (repeated := await self._answered_before(waiting, given)) is not None:
            return repeated
        served = await self._graph(waiting.graph)
        if served is None:
            raise UnknownGraph(f"There is no graph {waiting.graph!r} here that could take the answer.")
        asked, asked_at = await self._open_question(waiting)
        if asked is None:
            raise NotInterrupted
        reading = read_answer(asked, given.value, given.question)
        message = Message(
            id=_answer_id(*given.once[:2]) if given.once else new_id(),
            thread_id=waiting.thread_id,
            run_id=waiting.id,
            role="user",
            content=as_text(given.value),
            parent_id=waiting.reply_message_id,
            author=given.by,
            partial=False,
            created_at=self.environment.clock(),
        )
        reply_id = new_id()
        answered = InterruptAnswered(
            id=reading.id,
            answer=given.value,
            by=given.by,
            message_id=message.id,
            reply_id=reply_id,
            resume=reading.resume,
            stops=reading.stops,
        )
        events = [self._new_event(answered), self._new_event(MessageSaved(message=body_of(message)))]
        record = await self.database.write(
            transactions.answer, waiting.id, self.database.worker_id, events, message, reply_id, given.once
        )
        if record is None:
            if (repeated := await self._answered_before(waiting, given)) is not None:
                return repeated
            raise NotInterrupted
        self._runner.spawn(record, served)
        return Run(self, record, answered=asked_at, message_id=message.id)

    async def _answered_before(self, waiting: data_records.RunRecord, given: _Answer) -> Run | None:
        """The run that the same answer continued before, if it was sent with a key."""
        if given.once is None or await self.database.write(transactions.repeated, *given.once) is None:
            return None
        user, key, _ = given.once
        return await self._repeated(waiting, user, key)

    async def _known_thread(
        self, user: str, thread_id: str | None, thread_name: tuple[str, str] | None
    ) -> Thread | None:
        """The thread that a message is for, if it is there and this user's; whoever accepts it says what is wrong."""
        thread = None
        if thread_id is not None:
            thread = await self.database.fetch(reads.thread, thread_id)
        elif thread_name is not None:
            thread = await self.database.fetch(reads.named_thread, user, *thread_name)
        return thread if thread is not None and may(user, thread) else None

    async def waits(self, user: str, thread_name: tuple[str, str]) -> bool:
        """Whether the thread that this user's client calls so waits for an answer."""
        thread = await self._known_thread(user, None, thread_name)
        return thread is not None and await self.database.fetch(reads.waiting_run, thread.id) is not None

    async def _flow_of(self, thread: Thread | None) -> str | None:
        """The flow that a conversation goes on with, where a message does not name a graph."""
        if thread is None or self.flows is None:
            return None
        return await self.flows.of_thread(await self.database.fetch(reads.thread_state, thread.id))

    async def _open_question(self, run: data_records.RunRecord) -> tuple[Interrupt | None, int]:
        """The question that a run waits with, and its number."""
        last = None
        if run.status == "interrupted":
            async for one in self._so_far(run):
                last = one
        return (last.event, last.seq) if last is not None and isinstance(last.event, Interrupt) else (None, 0)

    async def active_runs(self, user: str) -> int:
        """How many runs of a user are under way or wait for their turn; not those that wait for a human."""
        return await self.database.fetch(reads.active_runs, user)

    async def tokens_used_today(self, user: str) -> int:
        """Tokens that a user's runs have used since midnight, UTC."""
        return await self.database.fetch(reads.tokens_used, user, self.environment.clock())

    # -- profiles -----------------------------------------------------------------------------------------------

    async def profile(self, user: str = LOCAL_USER) -> Profile | None:
        """What a user has told about themselves, if anything."""
        stored = await self.database.fetch(reads.profile, user)
        return decode_profile(stored) if stored is not None else None

    async def save_profile(self, user: str, profile: Profile) -> None:
        """Tell it to the agents of this user's runs from the next message on. Raises `BadRequest`."""
        value = encode_profile(checked_profile(profile))
        await self.database.write(transactions.save_profile, user, value, self.environment.clock())

    async def forget_profile(self, user: str = LOCAL_USER) -> None:
        """Tell nothing any more. Runs that were accepted before keep what they were given, as long as they are kept."""
        await self.database.write(transactions.save_profile, user, None, self.environment.clock())

    # -- threads ------------------------------------------------------------------------------------------------

    async def thread(self, thread_id: str, user: str = LOCAL_USER) -> Thread:
        """A thread of this user. Raises `NotFound`."""
        thread = await self.database.fetch(reads.thread, thread_id)
        if thread is None or not may(user, thread):
            if thread is not None:
                audit.warning("refused another user's thread", extra={"user": user, "thread_id": thread_id})
            raise NotFound
        return thread

    async def create_thread(
        self,
        user: str = LOCAL_USER,
        title: str | None = None,
        *,
        graph: str | None = None,
        idempotency_key: str | None = None,
    ) -> Thread:
        """A new thread with nothing in it yet; for the same key, the same one.

        `graph` is a flow, `flow:<agent id>`, that all its messages go to. Raises `BadRequest`, `IdempotencyConflict`,
        `UnknownGraph`.
        """
        title, at = checked_title(title), self.environment.clock()
        state = await self.flows.bound_to(graph, user) if graph and self.flows is not None else b""
        thread_id = same_id("thread", user, idempotency_key) if idempotency_key else new_id()
        thread = Thread(
            id=thread_id, user_id=user, title=title, created_at=at, updated_at=at, last_seq=0, head_message_id=None
        )
        await self.database.write(transactions.create_thread, thread, state)
        stored = await self.thread(thread_id, user)
        kept = await self.database.fetch(reads.thread_state, thread_id)
        if (stored.title, bound_flow(kept)) != (title, bound_flow(state)):
            raise IdempotencyConflict
        return stored

    async def delete_thread(self, thread_id: str, user: str = LOCAL_USER) -> None:
        """Stop what a thread of this user has under way, and forget all that is in it; its followers end.

        Raises `NotFound`, and `Busy` where a run does not end in time, or one begins meanwhile.
        """
        await self.thread(thread_id, user)
        try:
            async with asyncio.timeout(DELETE_SECONDS):
                await self._stop_runs(thread_id, user)
        except TimeoutError:
            raise Busy from None
        await self.database.delete_thread(thread_id)

    async def _stop_runs(self, thread_id: str, user: str) -> None:
        """Cancel a thread's runs, the newest first so that none of them begins, until all have ended."""
        asked: set[str] = set()
        with self.database.watch(thread_id) as watch:
            while True:
                watch.clear()
                runs = await self.database.fetch(reads.open_runs, thread_id)
                if not runs:
                    return
                for run in runs:
                    if run.id not in asked:
                        await self.cancel(run.id, user)
                    asked.add(run.id)
                await watch.wait()

    async def threads(self, user: str = LOCAL_USER, limit: int = 100) -> list[Thread]:
        """A user's threads, the newest first."""
        return await self.database.fetch(reads.threads_of, user, limit)

    async def messages(self, thread_id: str, user: str = LOCAL_USER) -> list[Message]:
        """Messages of a thread of this user, the oldest first. Raises `NotFound`."""
        await self.thread(thread_id, user)
        return await self.database.fetch(reads.messages_of, thread_id)

    async def follow(
        self, thread_id: str, after: int = 0, *, run_id: str | None = None, tick: float | None = None
    ) -> AsyncIterator[list[Recorded]]:
        """Batches of a thread's events with `seq > after`, for ever; of one run, while there is something left of it.

        Reads rows, never a queue: a slow caller costs nothing but its cursor. An empty batch says that `tick` seconds
        have passed. Ends early when the engine is about to close and when the thread is deleted. Access is for the
        caller to check.
        """
        loop = asyncio.get_running_loop()
        next_tick = loop.time() + tick if tick else None
        asked = woken = False
        unsure = True
        with self.database.watch(thread_id) as watch:
            while not self.draining:
                watch.clear()
                rows = await self.database.read(thread_id, after, BATCH_EVENTS)
                if not rows:
                    if asked or ((unsure or woken) and await self._is_over(thread_id, run_id, after)):
                        return
                    unsure = False
                    woken = await _until(watch, next_tick)
                else:
                    woken = False  # a hint with nothing behind it may stand for a deletion
                    rows = _bounded(rows)
                    after = rows[-1].seq
                    batch = [recorded(row) for row in rows if run_id is None or row.run_id == run_id]
                    if batch:
                        unsure = False  # whoever reads on from inside a run meets its end
                        yield batch
                        if run_id is not None and batch[-1].ends_run:
                            return
                        asked = run_id is not None and isinstance(batch[-1].event, Interrupt)
                if tick and next_tick and loop.time() >= next_tick:
                    next_tick += tick
                    yield []
                await asyncio.sleep(0)  # a replay must not starve the loop

    async def _is_over(self, thread_id: str, run_id: str | None, after: int) -> bool:
        """Whether nothing more can come: the thread is gone, or the place is behind the run's end or open question."""
        if run_id is None:
            return await self.database.fetch(reads.thread, thread_id) is None
        record = await self.database.fetch(reads.run, run_id)
        return record is None or not await self.is_left(record, after)

    async def is_left(self, run: data_records.RunRecord, after: int) -> bool:
        """Whether a reader at a place has something to come, or to wait for: not at the end, or the open question."""
        if run.status != "interrupted":
            return run.last_seq is None or after < run.last_seq
        while rows := await self.database.read(run.thread_id, after, BATCH_EVENTS):
            if any(row.run_id == run.id for row in rows):
                return True
            after = rows[-1].seq
        return False

    # -- life ---------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take up what earlier processes left behind, and keep looking. Called by `open_engine`."""
        self._runner.begin()

    def drain(self) -> None:
        """End all followers; their callers resume elsewhere. Runs go on until `close`."""
        self.draining = True
        self.database.wake()

    async def close(self) -> None:
        """Hand unfinished runs back, uncharged, and release everything. Idempotent."""
        self.drain()
        await self._runner.close()
        await self.database.close()

    async def _chosen(self, asked_for: str | None, user: str) -> ServedGraph:
        """The graph that a request asks for. Raises `UnknownGraph`."""
        name: str | None = asked_for or self.default_graph
        if asked_for is not None and self.flows is not None and asked_for.startswith(PREFIX):
            name = await self.flows.name_for(asked_for, user)
        served = await self._graph(name) if name is not None else None
        if served is None:
            raise UnknownGraph(f"There is no graph {asked_for!r}; this server has {', '.join(self.graphs)}.")
        return served

    async def _graph(self, name: str) -> ServedGraph | None:
        """A graph by the name that runs record."""
        if name in self.graphs or self.flows is None:
            return self.graphs.get(name)
        return await self.flows.graph(name)

    def _new_event(self, event: AnyEvent) -> NewEvent:
        return _event_at(self.environment.clock(), event)


def _event_at(at: int, event: AnyEvent) -> NewEvent:
    return NewEvent(type=event.type, payload=encode(event), at=at)


def _answer_id(user: str, key: str) -> str:
    """The id of an answer that was sent with an idempotency key: a repetition is known by it."""
    return same_id("answer", user, key)


async def _until(watch: Watch, deadline: float | None) -> bool:
    """Wait for a hint, or until a time of the event loop. Returns whether there was a hint."""
    try:
        async with asyncio.timeout_at(deadline):
            await watch.wait()
    except TimeoutError:
        return False
    return True


def _bounded(rows: list[data_records.Row]) -> list[data_records.Row]:
    """As many rows as fit a batch, at least one."""
    size = 0
    for count, row in enumerate(rows):
        size += len(row.payload)
        if size > BATCH_BYTES and count:
            return rows[:count]
    return rows
