"""What is stored, as plain values. Times are in ms since the epoch; payloads are opaque bytes."""

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
"""What a message does if it arrives while a run of the thread has not ended."""


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
    """A conversation of one user. `last_seq` is the number of its newest event, or 0."""

    id: str
    user_id: str
    title: str | None
    created_at: int
    updated_at: int
    last_seq: int
    head_message_id: str | None


class Message(Record, frozen=True):
    """One message of a tree (`parent_id`). A partial one was stopped before its end."""

    id: str
    thread_id: str
    run_id: str | None
    role: str
    content: str
    parent_id: str | None
    author: str | None
    partial: bool
    created_at: int


class FlowRecord(Record, frozen=True):
    """A graph that a user has defined.

    `draft` and `published` are numbers of its revisions, which never change.
    """

    agent_id: str
    owner: str
    draft: int
    published: int | None
    created_at: int
    updated_at: int


class RunRecord(Record, frozen=True):
    """One execution of a graph for one message.

    `lease_epoch` is the fencing token: it grows with every claim, and writes of earlier holders are
    refused. `attempt` counts its executions; `charges` counts those that began since a node last
    completed, so that a run which kills its worker each time is recognised; `crashes` counts how
    often it was taken over from a lost worker. `emitted` counts its events; `first_seq` is the
    number of its first event in the thread, `last_seq` that of its terminal event.
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


def may(user_id: str, thing: Thread | RunRecord) -> bool:
    """Return whether a user may read and act in a thread or run. Nothing else decides that."""
    return thing.user_id == user_id


class Fence(Record, frozen=True):
    """The right to write for a run: valid while the run's `lease_epoch` is still `epoch`."""

    run_id: str
    epoch: int


class Acceptance(Record, frozen=True):
    """A message and the run that answers it, to be stored together before the acknowledgement."""

    run_id: str
    message_id: str
    reply_message_id: str
    user_id: str
    graph: str
    content: str
    input: bytes
    at: int
    worker: str | None
    """The worker that claims the run if the thread is idle; None leaves it queued."""
    events: Callable[[Thread, Message], Sequence[NewEvent]]
    """Returns the run's first events, for its thread and its message as stored. Must be pure."""
    thread_id: str | None = None
    """An existing thread of this user, or None for a new one."""
    thread_name: tuple[str, str] | None = None
    """`(namespace, name)`, a client's own name for the thread; it is created on first use."""
    idempotency: tuple[str, bytes] | None = None
    """`(key, digest of the request)`. A key is accepted once; with another digest it conflicts."""
    on_busy: OnBusy = "enqueue"


class Accepted(Record, frozen=True):
    """What `accept` did. `created` is False if the same request was accepted before."""

    run: RunRecord
    created: bool
    interrupted: tuple[str, ...] = ()
    """Ids of the runs that were asked to stop because this message interrupts them."""


class CheckpointWrite(Record, frozen=True):
    """One pending write of a finished task of a graph."""

    task_id: str
    task_path: str
    position: int
    channel: str
    kind: str
    value: bytes
    replace: bool
    """Whether an earlier write at the same place is replaced (special channels) or kept."""


class Checkpoint(Record, frozen=True):
    """A graph's state after a step. `namespace` distinguishes subgraphs, and is empty outside."""

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
    """A value that graphs keep across threads. `ttl` is in ms, None for ever."""

    namespace: Namespace
    key: str
    value: bytes
    created_at: int
    updated_at: int
    ttl: int | None = None


class ItemWrite(Record, frozen=True):
    """A value that replaces an earlier one, or None to delete that.

    The value is found by its `vectors`, which compare only with others of the same `embedder`.
    """

    namespace: Namespace
    key: str
    value: bytes | None
    ttl: int | None = None
    vectors: bytes | None = None
    embedder: str | None = None
