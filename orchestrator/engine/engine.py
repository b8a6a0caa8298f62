"""The engine: accepts messages, executes runs in the background, lets clients follow them.

It is the only writer of the log. Connections, notebooks and tests read it. After a crash the runs
of a lost process go on in another one, or after a restart.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from antiphon.data import reads
from antiphon.data.database import Database
from antiphon.data.records import Message, RunRecord, Thread
from antiphon.orchestrator.engine import threads, users
from antiphon.orchestrator.engine.accept import Acceptor, HumanAnswer, Receipt
from antiphon.orchestrator.engine.catalogue import Catalogue
from antiphon.orchestrator.engine.executors import EXECUTORS
from antiphon.orchestrator.engine.follow import LogReader
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.environment import DEFAULT_ENVIRONMENT, Environment
from antiphon.orchestrator.events import Recorded
from antiphon.orchestrator.flows.library import FlowLibrary
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.profiles import Profile
from antiphon.orchestrator.request import LOCAL, LOCAL_USER, Caller, Request, User


class Engine:
    """Runs graphs against one database. `open_engine` makes one."""

    def __init__(
        self,
        database: Database,
        graphs: Sequence[ServedGraph],
        *,
        flows: FlowLibrary | None = None,
        environment: Environment = DEFAULT_ENVIRONMENT,
    ) -> None:
        if environment.executor not in EXECUTORS:
            names = ", ".join(EXECUTORS)
            raise ValueError(f"unknown executor {environment.executor!r}: use one of {names}")
        self.database = database
        self.environment = environment
        self.catalogue = Catalogue(graphs, flows)
        make_executor = EXECUTORS[environment.executor]
        self._executor = make_executor(database, self.catalogue.named, environment)
        self._acceptor = Acceptor(database, self.catalogue, self._executor, environment)
        self._reader = LogReader(database)

    @property
    def flows(self) -> FlowLibrary | None:
        """The library of users' flows, if there is one."""
        return self.catalogue.flows

    @property
    def graphs(self) -> Mapping[str, ServedGraph]:
        """The graphs that the engine was opened with, by name."""
        return self.catalogue.graphs

    @property
    def default_graph(self) -> str:
        """The name of the graph for requests that name none."""
        return self.catalogue.default

    # -- runs --------------------------------------------------------------------------------------

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
        """Accept a message and begin to answer it. `accept` takes all that a `Request` can hold.

        `inputs` are values for the fields of the graph's input other than the message, `context`
        for its `context_schema`. Raises what `accept` raises.
        """
        request = Request(
            message=message,
            thread_id=thread_id,
            graph=graph,
            inputs=inputs or {},
            context=context or {},
        )
        return await self.accept(request, User(user))

    async def accept(self, request: Request, by: Caller = LOCAL) -> Run:
        """Store a request and begin to answer it. Message and run are stored when this returns.

        A message for a thread whose run waits for a human is the human's answer. Raises
        `EmptyMessage`, `TooLarge`, `BadRequest`, `BadInput`, `BadContext`, `UnknownGraph`,
        `UnknownAgent`, `NotFound`, `Busy`, `IdempotencyConflict`, `StorageError`, and for an answer
        what `answer` raises.
        """
        return self._handle(await self._acceptor.accept(request, by))

    async def answer(
        self,
        run_id: str,
        answer: Any,
        user: str = LOCAL_USER,
        *,
        question: str | None = None,
        idempotency_key: str | None = None,
    ) -> Run:
        """Answer a run's open question: the one with the id `question`, or else the oldest one.

        An object whose keys are ids of open questions answers all of these. The others stay open.
        Raises `NotFound`, `NotInterrupted`, `BadRequest`, `UnknownGraph`, `IdempotencyConflict`;
        and `UnknownQuestion`, `AnswerUnclear` or `AnswerInvalid`, after which the run waits as
        before.
        """
        human_answer = HumanAnswer(answer, user, question)
        return self._handle(await self._acceptor.answer(run_id, human_answer, idempotency_key))

    async def cancel(self, run_id: str, user: str = LOCAL_USER) -> None:
        """Stop a run; one that has ended stays as it is. Raises `NotFound`."""
        await self._acceptor.cancel(run_id, user)

    async def run(self, run_id: str, user: str = LOCAL_USER) -> Run:
        """Return a run of this user by id. Raises `NotFound`."""
        return Run(self, await self.record(run_id, user), created=False)

    async def record(self, run_id: str, user: str) -> RunRecord:
        """Return a run's stored record. Raises `NotFound`."""
        return await users.own_run(self.database, run_id, user)

    async def active_runs(self, user: str) -> int:
        """Return how many runs of a user are executed or queued. Waiting for a human is neither."""
        return await self.database.fetch(reads.active_runs, user)

    async def tokens_used_today(self, user: str) -> int:
        """Return how many tokens a user's runs have used since midnight, UTC."""
        return await self.database.fetch(reads.tokens_used, user, self.environment.clock())

    def _handle(self, receipt: Receipt) -> Run:
        run, created, answered, message_id = receipt
        return Run(self, run, created=created, answered=answered, message_id=message_id)

    # -- following ---------------------------------------------------------------------------------

    def follow(
        self,
        thread_id: str,
        after: int = 0,
        *,
        run_id: str | None = None,
        tick: float | None = None,
    ) -> AsyncIterator[list[Recorded]]:
        """Yield batches of a thread's events with `seq > after`.

        Without a run, it goes on for ever; for one run, it ends after its terminal event or its
        open question. It reads rows, not a queue, so a slow caller costs nothing but its cursor. An
        empty batch reports that `tick` seconds have passed. It ends early if the engine drains or
        the thread is deleted. The caller checks the user's access.
        """
        return self._reader.follow(thread_id, after, run_id, tick)

    async def is_left(self, run: RunRecord, after: int) -> bool:
        """Return whether a follower of a run has more to read, or to wait for, at this place."""
        return await self._reader.has_more(run, after)

    @property
    def draining(self) -> bool:
        """Whether followers are ended, to come back to another process."""
        return self._reader.draining

    # -- threads -----------------------------------------------------------------------------------

    async def thread(self, thread_id: str, user: str = LOCAL_USER) -> Thread:
        """Return a thread of this user. Raises `NotFound`."""
        return await users.own_thread(self.database, thread_id, user)

    async def threads(self, user: str = LOCAL_USER, limit: int = 100) -> list[Thread]:
        """Return a user's threads, the newest first."""
        return await self.database.fetch(reads.threads_of, user, limit)

    async def messages(self, thread_id: str, user: str = LOCAL_USER) -> list[Message]:
        """Return the messages of a thread of this user, the oldest first. Raises `NotFound`."""
        await self.thread(thread_id, user)
        return await self.database.fetch(reads.messages_of, thread_id)

    async def waits(self, user: str, thread_name: tuple[str, str]) -> bool:
        """Return whether a run of the thread with this `(dialect, name)` waits for an answer."""
        thread = await users.find_thread(self.database, user, None, thread_name)
        if thread is None:
            return False
        return await self.database.fetch(reads.waiting_run, thread.id) is not None

    async def create_thread(
        self,
        user: str = LOCAL_USER,
        title: str | None = None,
        *,
        graph: str | None = None,
        idempotency_key: str | None = None,
    ) -> Thread:
        """Create an empty thread. The same idempotency key returns the same thread again.

        `graph` is a flow, `flow:<agent id>`, that all its messages go to. Raises `BadRequest`,
        `IdempotencyConflict`, `UnknownGraph`.
        """
        state = await self.catalogue.bound_to(graph, user)
        at = self.environment.clock()
        return await threads.create_thread(self.database, user, title, state, idempotency_key, at)

    async def delete_thread(self, thread_id: str, user: str = LOCAL_USER) -> None:
        """Stop the runs of a thread of this user and delete all that is in it. Its followers end.

        Raises `NotFound`, and `Busy` if a run does not end in time, or one begins meanwhile.
        """
        await self.thread(thread_id, user)
        await threads.delete_thread(
            self.database, thread_id, lambda run_id: self.cancel(run_id, user)
        )

    # -- profiles ----------------------------------------------------------------------------------

    async def profile(self, user: str = LOCAL_USER) -> Profile | None:
        """Return a user's profile, or None."""
        return await users.profile_of(self.database, user)

    async def save_profile(self, user: str, profile: Profile) -> None:
        """Store a profile for the agents of this user's later runs. Raises `BadRequest`."""
        await users.save_profile(self.database, user, profile, self.environment.clock())

    async def forget_profile(self, user: str = LOCAL_USER) -> None:
        """Delete a user's profile. Runs that were accepted before keep theirs."""
        await users.save_profile(self.database, user, None, self.environment.clock())

    # -- life --------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Start executing runs, also those that earlier processes left. `open_engine` calls it."""
        self._executor.begin()

    def drain(self) -> None:
        """End all followers; they resume elsewhere. Runs go on until `close`."""
        self._reader.drain()

    async def close(self) -> None:
        """Hand unfinished runs back, uncharged, and release everything. Idempotent."""
        self.drain()
        await self._executor.close()
        await self.database.close()
