"""Accepts what clients send to runs: messages, answers to questions, and requests to stop."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple

import msgspec

from antiphon.data import reads, transactions
from antiphon.data.database import Database
from antiphon.data.ids import new_id, same_id
from antiphon.data.records import Acceptance, Message, NewEvent, RunRecord, Thread
from antiphon.orchestrator.engine.catalogue import Catalogue
from antiphon.orchestrator.engine.executors import Executor
from antiphon.orchestrator.engine.log import body_of, events_so_far, new_event
from antiphon.orchestrator.engine.users import find_thread, own_run, profile_of
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.errors import NotInterrupted, UnknownGraph
from antiphon.orchestrator.events import (
    Interrupt,
    InterruptAnswered,
    MessageSaved,
    RunCancelled,
    RunStart,
    as_text,
    encode,
)
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.questions.questions import read_answer
from antiphon.orchestrator.recording.tracing import checked_traceparent
from antiphon.orchestrator.request import Caller, Request, checked, checked_value


class Receipt(NamedTuple):
    """The run that a request led to.

    `created` is False if an earlier request with the same idempotency key created it. `answered` is
    the number of the question that was answered, or 0; `message_id` is the answer, if there is one.
    """

    run: RunRecord
    created: bool = True
    answered: int = 0
    message_id: str | None = None


class RequestKey(NamedTuple):
    """A user's idempotency key, with the digest of the request that it is for."""

    user: str
    key: str
    digest: bytes

    @property
    def answer_id(self) -> str:
        """The id of the message if the request is an answer. A repetition has the same."""
        return same_id("answer", self.user, self.key)


class HumanAnswer(NamedTuple):
    """A user's answer to a question: the one with the id `question`, or else the oldest one."""

    value: Any
    by: str
    question: str | None = None
    key: RequestKey | None = None


class Acceptor:
    """Stores requests, and submits their runs to the executor."""

    def __init__(
        self,
        database: Database,
        catalogue: Catalogue,
        executor: Executor,
        environment: Environment,
    ) -> None:
        self._database = database
        self._catalogue = catalogue
        self._executor = executor
        self._clock = environment.clock

    # -- messages ----------------------------------------------------------------------------------

    async def accept(self, request: Request, by: Caller) -> Receipt:
        """Store a message and its run, or an answer. `Engine.accept` lists what it raises."""
        request = checked(request, by.access)
        key = None
        if request.idempotency_key:
            key = RequestKey(by.id, request.idempotency_key, request.digest)
        repeated = await self._repeated(key)
        if repeated is not None:
            return repeated
        name = request.name_in_dialect
        thread = await find_thread(self._database, by.id, request.thread_id, name)
        if thread is not None:
            waiting = await self._database.fetch(reads.waiting_run, thread.id)
            if waiting is not None:
                answer = HumanAnswer(request.message, by.id, key=key)
                return await self._continue(waiting, answer)
        served = await self._choose_graph(request, thread, by.id)
        return await self._begin(await self._acceptance(request, by.id, served), served)

    async def _choose_graph(
        self, request: Request, thread: Thread | None, user: str
    ) -> ServedGraph:
        """Return the graph for a message, after checking that it can take it."""
        graph = request.graph
        if not graph and thread is not None:
            state = await self._database.fetch(reads.thread_state, thread.id)
            graph = await self._catalogue.flow_of(state)
        served = await self._catalogue.choose(graph, user)
        served.check_agents(request.primary, *request.supporting)
        served.check(request, thread is None or thread.head_message_id is None)
        return served

    async def _acceptance(self, request: Request, user: str, served: ServedGraph) -> Acceptance:
        """Return what is stored for a message: with its run and their first events."""
        reply_id = new_id()
        # Two requests with one key may differ in these two fields, and no event shows them.
        stored = msgspec.structs.replace(
            request,
            profile=await profile_of(self._database, user),
            traceparent=checked_traceparent(request.traceparent),
        )

        def first_events(thread: Thread, message: Message) -> list[NewEvent]:
            start = RunStart(
                input=request.shown,
                graph=served.name,
                dialect=request.dialect,
                reply_id=reply_id,
            )
            saved = MessageSaved(message=body_of(message))
            return [new_event(start, message.created_at), new_event(saved, message.created_at)]

        key = request.idempotency_key
        return Acceptance(
            run_id=new_id(),
            message_id=request.message_id or new_id(),
            reply_message_id=reply_id,
            user_id=user,
            graph=served.name,
            content=request.message,
            input=msgspec.json.encode(stored),
            at=self._clock(),
            worker=self._executor.worker,
            events=first_events,
            thread_id=request.thread_id,
            thread_name=request.name_in_dialect,
            idempotency=(key, request.digest) if key else None,
            on_busy=request.on_busy,
        )

    async def _begin(self, acceptance: Acceptance, served: ServedGraph) -> Receipt:
        accepted = await self._database.write(transactions.accept, acceptance)
        if accepted.created:
            self._executor.submit(accepted.run, served)
        for interrupted in accepted.interrupted:
            await self.cancel(interrupted, acceptance.user_id)
        return Receipt(accepted.run, accepted.created)

    # -- repetitions -------------------------------------------------------------------------------

    async def _repeated(self, key: RequestKey | None) -> Receipt | None:
        """Return the receipt of an earlier request with this key, if there was one.

        If that was an answer, its reader begins after the question. Raises `IdempotencyConflict`
        if the key was used for another request.
        """
        if key is None:
            return None
        run = await self._database.write(transactions.repeated, *key)
        if run is None:
            return None
        question = 0
        async for recorded in events_so_far(self._database, run):
            event = recorded.event
            if isinstance(event, Interrupt):
                question = recorded.seq
            elif isinstance(event, InterruptAnswered) and event.message_id == key.answer_id:
                return Receipt(run, False, question, key.answer_id)
        return Receipt(run, created=False)

    # -- answers -----------------------------------------------------------------------------------

    async def answer(
        self, run_id: str, answer: HumanAnswer, idempotency_key: str | None
    ) -> Receipt:
        """Store an answer to a run's question. `Engine.answer` lists what it raises."""
        waiting = await own_run(self._database, run_id, answer.by)
        value = checked_value(answer.value, "The answer")
        request = [waiting.id, value]
        if answer.question is not None:
            request.append(answer.question)
        if idempotency_key:
            digest = hashlib.sha256(msgspec.json.encode(request)).digest()
            answer = answer._replace(key=RequestKey(answer.by, idempotency_key, digest))
        return await self._continue(waiting, answer)

    async def _continue(self, waiting: RunRecord, answer: HumanAnswer) -> Receipt:
        """Store an answer and go on with the run that waits for it."""
        repeated = await self._repeated(answer.key)
        if repeated is not None:
            return repeated
        served = await self._catalogue.named(waiting.graph)
        if served is None:
            raise UnknownGraph(f"There is no graph {waiting.graph!r} here to take the answer.")
        question, asked_at = await self._open_question(waiting)
        message = Message(
            id=answer.key.answer_id if answer.key else new_id(),
            thread_id=waiting.thread_id,
            run_id=waiting.id,
            role="user",
            content=as_text(answer.value),
            parent_id=waiting.reply_message_id,
            author=answer.by,
            partial=False,
            created_at=self._clock(),
        )
        run = await self._store_answer(waiting, question, answer, message)
        if run is None:  # another answer was first, which may be this one sent twice
            repeated = await self._repeated(answer.key)
            if repeated is not None:
                return repeated
            raise NotInterrupted
        self._executor.submit(run, served)
        return Receipt(run, answered=asked_at, message_id=message.id)

    async def _open_question(self, run: RunRecord) -> tuple[Interrupt, int]:
        """Return the question that a run waits with, and its number. Raises `NotInterrupted`."""
        last = None
        if run.status == "interrupted":
            async for recorded in events_so_far(self._database, run):
                last = recorded
        if last is None or not isinstance(last.event, Interrupt):
            raise NotInterrupted
        return last.event, last.seq

    async def _store_answer(
        self, waiting: RunRecord, question: Interrupt, answer: HumanAnswer, message: Message
    ) -> RunRecord | None:
        """Store an answer as a message. Returns None if the run does not wait any more."""
        reading, reply_id = read_answer(question, answer.value, answer.question), new_id()
        answered = InterruptAnswered(
            id=reading.id,
            answer=answer.value,
            by=answer.by,
            message_id=message.id,
            reply_id=reply_id,
            resume=reading.resume,
            stops=reading.stops,
        )
        saved = MessageSaved(message=body_of(message))
        return await self._database.write(
            transactions.answer,
            waiting.id,
            self._executor.worker,
            [new_event(answered, message.created_at), new_event(saved, message.created_at)],
            message,
            reply_id,
            answer.key,
        )

    # -- requests to stop --------------------------------------------------------------------------

    async def cancel(self, run_id: str, user: str) -> None:
        """Stop a run; one that has ended stays as it is. Raises `NotFound`."""
        await own_run(self._database, run_id, user)
        end = RunCancelled(by=user)
        events = [new_event(end, self._clock())]
        run = await self._database.write(transactions.cancel, run_id, user, events, encode(end))
        await self._executor.cancel(run, user)
