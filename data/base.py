"""What every backend offers. The errors that it raises are in `errors.py`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from typing import Protocol, TypeVar

from antiphon.data.records import (
    Acceptance,
    Accepted,
    Checkpoint,
    CheckpointWrite,
    Fence,
    Flow,
    GraphState,
    Item,
    ItemWrite,
    Message,
    Namespace,
    NewEvent,
    Row,
    Run,
    RunStatus,
    StoredCheckpoint,
    Thread,
)

T = TypeVar("T")


class Watch(Protocol):
    """A subscription to hints about one thread. Subscribe first, then read: then nothing falls in between."""

    def clear(self) -> None:
        """Forget hints so far. Call it before reading."""

    async def wait(self) -> None:
        """Return when the thread may have changed since `clear`."""


class EventLog(Protocol):
    """The numbered events of all threads, with fenced writing and reading by cursor."""

    async def accept(self, acceptance: Acceptance) -> Accepted:
        """Store a message, its run and their first events in one transaction; claim the run if the thread is idle.

        Raises `NotFound`, `Busy`, `IdempotencyConflict`.
        """

    async def claim(self, run_id: str, worker: str, *, held_by: str | None = None) -> Run | None:
        """Become the writer of a queued run, or take a running one over from worker `held_by`.

        Returns None when it is not to be had: another worker was first, or an older run of the thread is under way.
        """

    async def append(
        self,
        fence: Fence,
        expected: int,
        events: Sequence[NewEvent],
        writes: Sequence[tuple[str, str, CheckpointWrite]] = (),
        completed: bool = False,
    ) -> int:
        """Number and store events of a run, and checkpoint writes `(namespace, checkpoint id, write)` with them.

        `expected` is the run's event count as the writer knows it, so that an append whose answer was lost can be
        repeated safely. `completed` says that a node has completed, which forgives earlier crashes. Returns the number
        of the last event stored, 0 where there was none. Raises `Fenced`.
        """

    async def put_checkpoint(
        self, fence: Fence, expected: int, events: Sequence[NewEvent], checkpoint: Checkpoint
    ) -> int:
        """Like `append`, with a checkpoint."""

    async def finish(  # noqa: PLR0913 - all that one commit stores
        self,
        fence: Fence,
        expected: int,
        events: Sequence[NewEvent],
        *,
        status: RunStatus,
        message: Message | None,
        result: bytes,
        tokens: int = 0,
        state: bytes | None = None,
        graph_state: GraphState | None = None,
    ) -> str | None:
        """Store a run's last events, its reply and its status at once. Returns the thread's next queued run, if any.

        `state` is what the thread's next run is given; empty for nothing, None to leave it as it is.
        `graph_state` is what the graph's next run in the thread begins from. Of this graph's earlier
        states in the thread only the one that it follows is kept, for a message that takes the last
        turn back.
        """

    async def pause(
        self,
        fence: Fence,
        expected: int,
        events: Sequence[NewEvent],
        message: Message | None = None,
        writes: Sequence[tuple[str, str, CheckpointWrite]] = (),
    ) -> None:
        """Store events that end with a question to a human, and give up the run until it is answered.

        `message` is the question as the run's reply so far; `writes` are what the tasks that ask wrote, as `append`
        takes them.
        """

    async def answer(
        self,
        run_id: str,
        worker: str,
        events: Sequence[NewEvent],
        message: Message,
        reply_id: str,
        idempotency: tuple[str, str, bytes] | None = None,
    ) -> Run | None:
        """Continue a paused run as its writer. None when the run is not waiting for an answer.

        `message` is the answer; what the run says from now on will be the message `reply_id` behind it. `idempotency`
        is `(user, key, digest)` of the request, remembered with it.
        """

    async def repeated(self, user_id: str, key: str, digest: bytes) -> Run | None:
        """The run of an earlier request with this key. Raises `IdempotencyConflict` where that was another request."""

    async def cancel(self, run_id: str, by: str, events: Sequence[NewEvent], result: bytes) -> Run:
        """Ask a running run to stop; end one that never began with `events` at once. Idempotent.

        One that began and was let go of comes back queued: whoever claims it ends it.
        """

    async def hand_back(self, fence: Fence, *, charged: bool) -> None:
        """Give a run back for any worker to continue: uncharged at a shutdown, charged after a failure."""

    async def read(self, thread_id: str, after: int, limit: int) -> list[Row]:
        """Rows with `seq > after`, in order, at most `limit`."""

    def watch(self, thread_id: str) -> AbstractContextManager[Watch]:
        """Subscribe to hints about a thread."""

    def wake(self) -> None:
        """Hint at every watched thread."""


class Checkpoints(Protocol):
    """Reading of graph checkpoints; they are written through the log, under its fence."""

    async def checkpoint(self, run_id: str, namespace: str, checkpoint_id: str | None) -> StoredCheckpoint | None:
        """The named checkpoint, or the newest one."""

    async def checkpoints(
        self, run_id: str, namespace: str | None, before: str | None, limit: int | None
    ) -> list[StoredCheckpoint]:
        """Checkpoints of a run, newest first."""

    async def checkpoint_writes(
        self,
        run_id: str,
        namespace: str,
        checkpoint_id: str,
    ) -> tuple[CheckpointWrite, ...]:
        """What tasks of a run have written after a checkpoint, which may be another run's."""

    async def namespaces(self, run_id: str) -> list[str]:
        """Namespaces in which a run has checkpoints."""


class Conversations(Protocol):
    """Ordinary reads: threads, messages, runs."""

    async def thread(self, thread_id: str) -> Thread | None:
        """A thread by id."""

    async def named_thread(self, user_id: str, namespace: str, name: str) -> Thread | None:
        """The thread that a client of this user calls `name`."""

    async def thread_names(self, user_id: str, namespace: str) -> dict[str, str]:
        """What a user's clients call their threads in one namespace, by the threads' ids."""

    async def threads(self, user_id: str, limit: int) -> list[Thread]:
        """A user's threads, the newest first."""

    async def messages(self, thread_id: str) -> list[Message]:
        """Messages of a thread, the oldest first; without replies of which nothing was said yet."""

    async def create_thread(self, thread: Thread, state: bytes = b"") -> None:
        """Store a thread that has nothing in it yet, with the state for its first run; one that is there stays."""

    async def delete_thread(self, thread_id: str) -> None:
        """Forget a thread and all that is in it. Raises `Busy` while it has a run that has not ended."""

    async def thread_state(self, thread_id: str) -> bytes:
        """What the thread's last run left for the next one; empty where it left nothing."""

    async def graph_state(self, graph: str, message_id: str) -> GraphState | None:
        """The nearest state of the graph on the branch of messages that ends with this one."""

    async def branch(self, message_id: str, after: str | None = None) -> list[Message]:
        """A message and what it follows, the oldest first, back to the thread's first message.

        If the message `after` is among them, those after it.
        """

    async def run(self, run_id: str) -> Run | None:
        """A run by id."""

    async def waiting_run(self, thread_id: str) -> Run | None:
        """The run of a thread that waits for a human."""

    async def open_runs(self, thread_id: str) -> list[Run]:
        """Runs of a thread that have not ended, the newest first."""


class Positions(Protocol):
    """Which run a client's connection has last been shown, and how much of it. `key` is (user, dialect, connection)."""

    async def remember(self, key: tuple[str, str, str], run_id: str, seq: float) -> None:
        """Store a place in place of the one before."""

    async def position(self, key: tuple[str, str, str]) -> tuple[str, float] | None:
        """The run and the number of the last frame; None for a connection that was shown nothing."""


class Workers(Protocol):
    """Who executes runs: liveness of this and other processes on the same database."""

    @property
    def worker_id(self) -> str:
        """This process's identity; a lock held by the operating system tells others that it lives."""

    async def orphans(self, lease_seconds: float) -> list[Run]:
        """Running runs whose worker is dead or silent for a lease, and queued ones whose thread is idle."""

    async def tokens_used(self, user_id: str, now: int) -> int:
        """Tokens that a user's runs have used on the day of `now` (ms, UTC)."""

    async def active_runs(self, user_id: str) -> int:
        """How many runs of a user are under way or wait for their turn; not those that wait for a human."""

    async def cancel_requests(self) -> list[Run]:
        """Runs of this worker that somebody asked to stop."""


class Access(Protocol):
    """Who may no longer come in, and tickets that let somebody in once."""

    async def revoke(self, kind: str, value: str, at: int) -> None:
        """Refuse a token (`kind` jti) or a user's tokens issued before `at` (`kind` user; ms)."""

    async def revocations(self) -> list[tuple[str, str, int]]:
        """All revocations as `(kind, value, at)`."""

    async def issue_ticket(self, digest: bytes, holder: bytes, now: int, expires_at: int) -> None:
        """Store a ticket by its digest; times in ms."""

    async def redeem_ticket(self, digest: bytes, now: int) -> bytes | None:
        """Take a ticket out of the store: its holder, or None where it is unknown, used or too old."""


class Flows(Protocol):
    """Graphs that users have defined, and what users have told about themselves; as opaque bytes."""

    async def save_flow(self, agent_id: str, owner: str, definition: bytes, at: int) -> Flow:
        """Store a definition as a new revision, the draft. Raises `NotFound` where the flow is somebody else's."""

    async def publish_flow(self, agent_id: str, owner: str, at: int, *, published: bool = True) -> Flow:
        """Let others run the draft as it is now, or nothing any more. Raises `NotFound`."""

    async def delete_flow(self, agent_id: str, owner: str) -> None:
        """Forget a flow; its revisions stay while there may be runs of them. Raises `NotFound`."""

    async def flow(self, agent_id: str) -> Flow | None:
        """A flow by its id."""

    async def flows(self, owner: str) -> list[Flow]:
        """A user's flows, the last changed first."""

    async def any_flow(self) -> bool:
        """Whether anybody has published a flow."""

    async def flow_revision(self, agent_id: str, revision: int) -> bytes | None:
        """One revision's definition."""

    async def profile(self, user_id: str) -> bytes | None:
        """What a user has told about themselves."""

    async def save_profile(self, user_id: str, value: bytes | None, at: int) -> None:
        """Store it, or forget it for None."""


class Items(Protocol):
    """What graphs keep across threads and users: values by namespace and key. Times in ms.

    Every method can be called in any thread and returns at once. A thread of the database's own completes
    the future, which may be waited for anywhere: also on the event loop, which is not needed for that.
    An item whose time is over at `now` is not there any more, whether or not it is swept already.
    """

    def put_items(self, writes: Sequence[ItemWrite], at: int) -> Future[None]:
        """Store and forget items, all or none. An item that was there keeps its time of creation."""

    def items(self, places: Sequence[tuple[Namespace, str]], now: int) -> Future[list[Item]]:
        """The items at these places, in any order; a place where nothing is kept has none."""

    def scan_items(
        self,
        prefix: Namespace,
        now: int,
        embedder: str | None,
        fold: Callable[[Iterator[tuple[Item, bytes]]], T],
    ) -> Future[T]:
        """What `fold` makes of the items in a namespace and inside it, the last written first.

        Each comes with its vectors, which are empty if it has none of this embedder. `fold` sees one
        state of the database, and may stop early; what it raises is raised.
        """

    def item_namespaces(self, prefix: Namespace, now: int) -> Future[list[Namespace]]:
        """Namespaces that hold an item, in a namespace and inside it, in any order."""

    def refresh_items(self, places: Sequence[tuple[Namespace, str]], now: int) -> Future[None]:
        """Begin the time of these items anew, if they have one."""

    def sweep_items(self, now: int, limit: int) -> Future[int]:
        """Delete items whose time is over, at most `limit`, and return how many."""


class Database(EventLog, Checkpoints, Conversations, Positions, Workers, Access, Flows, Items, Protocol):
    """One backend: everything above on one store."""

    @property
    def problem(self) -> str | None:
        """Why nothing can be stored here any more, as a stable code; None if all is well.

        A store that is full or locked is no such problem: that passes.
        """

    async def facts(self) -> dict[str, str]:
        """Engine version and settings, for the health page."""

    async def close(self) -> None:
        """Finish what was submitted, release everything. Idempotent."""
