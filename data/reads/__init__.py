"""Everything that is read: functions for `Database.fetch` and `Database.scan`, by subject.

Each takes a SQLAlchemy connection first and returns records or plain values; None or an empty
value stands for what is not there.
"""

from __future__ import annotations

from antiphon.data.reads.access import position, revocations
from antiphon.data.reads.checkpoints import (
    checkpoint,
    checkpoint_namespaces,
    checkpoint_writes,
    checkpoints_of,
)
from antiphon.data.reads.flows import any_flow, flow, flow_revision, flows_of, profile
from antiphon.data.reads.items import item_namespaces, items_at, scan_items
from antiphon.data.reads.log import events_after
from antiphon.data.reads.messages import branch, messages_of
from antiphon.data.reads.runs import (
    active_runs,
    cancel_requests,
    open_runs,
    recoverable,
    run,
    tokens_used,
    waiting_run,
)
from antiphon.data.reads.threads import (
    graph_state,
    named_thread,
    thread,
    thread_names,
    thread_state,
    threads_of,
)

__all__ = [
    "active_runs",
    "any_flow",
    "branch",
    "cancel_requests",
    "checkpoint",
    "checkpoint_namespaces",
    "checkpoint_writes",
    "checkpoints_of",
    "events_after",
    "flow",
    "flow_revision",
    "flows_of",
    "graph_state",
    "item_namespaces",
    "items_at",
    "messages_of",
    "named_thread",
    "open_runs",
    "position",
    "profile",
    "recoverable",
    "revocations",
    "run",
    "scan_items",
    "thread",
    "thread_names",
    "thread_state",
    "threads_of",
    "tokens_used",
    "waiting_run",
]
