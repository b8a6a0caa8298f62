"""The records that the log keeps, as plain values. Times are in ms since the epoch; payloads are opaque bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

RunStatus = Literal["queued", "running", "interrupted", "completed", "failed", "cancelled"]

TERMINAL: frozenset[str] = frozenset({"completed", "failed", "cancelled"})
"""Statuses that a run never leaves."""

ACTIVE = ("queued", "running", "interrupted")
"""Statuses of a run that has not ended."""

DAY_MS = 86_400_000

OnBusy = Literal["enqueue", "reject", "interrupt", "rollback"]
"""What a message does that arrives while the thread's run is under way."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all records: immutable, compared by value."""


class NewEvent(Record, frozen=True):
    """An event that has no number yet."""

    type: str
    payload: bytes
    at: int


class Row(Record, frozen=True):
    """One numbered event: `seq` is dense per thread, from 1. Never changed after its commit."""

    thread_id: str
    seq: int
    run_id: str | None
    attempt: int
    type: str
    at: int
    payload: bytes


class Thread(Record, frozen=True):
    """A conversation. It belongs to one user; `last_seq` is the number of its newest event."""

    id: str
    user_id: str
    title: str | None
    created_at: int
    updated_at: int
    last_seq: int
    head_message_id: str | None


class Message(Record, frozen=True):
    """One message. Messages form a tree by `parent_id`; a partial one was stopped before its end."""

    id: str
    thread_id: str
    run_id: str | None
    role: str
    content: str
    parent_id: str | None
    author: str | None
    partial: bool
    created_at: int


class Flow(Record, frozen=True):
    """A graph that a user has defined: `draft` and `published` are numbers of its revisions, which never change."""

    agent_id: str
    owner: str
    draft: int
    published: int | None
    created_at: int
    updated_at: int


class Run(Record, frozen=True):
    """One execution of a graph for one message.

    `lease_epoch` is the fencing token: it grows with every claim, and nothing that an earlier holder writes is taken.
    `attempt` counts its executions; `charges` those that were begun since a node last completed, so that a run which
    kills its worker again and again can be told; `crashes` how often it was taken over from a lost worker. `emitted`
    counts the run's events; `first_seq` is where the run begins in its thread, `last_seq` its terminal event.
    """

    id: str
    thread_id: str
    user_id: str
    graph: str
    status: RunStatus
    input: bytes
    input_message_id: str
    reply_message_id: str
    attempt: int
    charges: int
    crashes: int
    lease_epoch: int
    owner: str | None
    emitted: int
    first_seq: int
    last_seq: int | None
    cancel_requested_by: str | None
    result: bytes | None
    created_at: int
    finished_at: int | None

    @property
    def ended(self) -> bool:
        """Whether the run has its terminal event."""
        return self.status in TERMINAL


def may(user_id: str, thing: Thread | Run) -> bool:
    """Whether a user may read a thread or a run, and act in it. The one place that decides it."""
    return thing.user_id == user_id


class Fence(Record, frozen=True):
    """The right to write for a run: valid while the run's `lease_epoch` is still `epoch`."""

    run_id: str
    epoch: int


class Acceptance(Record, frozen=True):
    """A message and the run that answers it, to be stored together before anything is acknowledged."""

    run_id: str
    message_id: str
    reply_message_id: str
    user_id: str
    graph: str
    content: str
    input: bytes
    at: int
    worker: str
    events: Callable[[Thread, Message], Sequence[NewEvent]]
    """Makes the run's first events once the thread and the message's place in it are known. Must be pure."""
    thread_id: str | None = None
    """An existing thread of this user, or None for a new one."""
    thread_name: tuple[str, str] | None = None
    """`(namespace, name)` by which a client knows the thread; it is created on first use."""
    idempotency: tuple[str, bytes] | None = None
    """`(key, digest of the request)`: the same key accepts once; the same key with another digest is a conflict."""
    on_busy: OnBusy = "enqueue"


class Accepted(Record, frozen=True):
    """What `accept` did: `created` is False when the idempotency key had been used for the same request before."""

    run: Run
    created: bool
    interrupted: tuple[str, ...] = ()
    """Runs that were asked to stop because this message interrupts them."""


class CheckpointWrite(Record, frozen=True):
    """One pending write of a finished task of a graph."""

    task_id: str
    task_path: str
    position: int
    channel: str
    kind: str
    value: bytes
    replace: bool
    """Whether a write that stands at the same place is replaced (special channels) or kept."""


class Checkpoint(Record, frozen=True):
    """A graph state after a step. `namespace` tells subgraphs apart."""

    namespace: str
    id: str
    parent_id: str | None
    kind: str
    value: bytes
    metadata: bytes


class GraphState(Record, frozen=True):
    """What a completed run of a graph leaves for that graph's next run in the thread.

    It belongs to a place in the tree of messages: `message_id` is the reply that ended the run, and
    runs for messages after that reply begin from it. `follows` is the reply whose state the run
    itself began from, None if there was none. The value is at most some MB long.
    """

    graph: str
    message_id: str
    value: bytes
    follows: str | None = None


class StoredCheckpoint(Record, frozen=True):
    """A checkpoint together with the writes that tasks of the next step have already made."""

    checkpoint: Checkpoint
    writes: tuple[CheckpointWrite, ...]


Namespace = tuple[str, ...]
"""The place of an item, from the outermost label to the innermost.

No label is empty or has a period.
"""


def namespace_text(namespace: Namespace) -> str:
    """Return a namespace as it is stored: text, so that all inside a namespace are one range."""
    return ".".join(namespace)


def namespace_labels(text: str) -> Namespace:
    """Return a namespace from its stored text."""
    return tuple(text.split("."))


class Item(Record, frozen=True):
    """A value that graphs keep across threads, by namespace and key. `ttl` is in ms; None is for ever."""

    namespace: Namespace
    key: str
    value: bytes
    created_at: int
    updated_at: int
    ttl: int | None = None


class ItemWrite(Record, frozen=True):
    """A value to keep in place of an earlier one, or None to forget it.

    `vectors` are what the value is found by; they compare only with others of the same `embedder`.
    """

    namespace: Namespace
    key: str
    value: bytes | None
    ttl: int | None = None
    vectors: bytes | None = None
    embedder: str | None = None
