"""Everything that is written: functions for `Database.write`, by subject.

Each takes a `Transaction` first and returns a value, or raises; then its savepoint undoes all that
it has changed.
"""

from __future__ import annotations

from antiphon.data.transactions.access import (
    heartbeat,
    issue_ticket,
    redeem_ticket,
    remember,
    revoke,
)
from antiphon.data.transactions.flows import delete_flow, publish_flow, save_flow, save_profile
from antiphon.data.transactions.items import put_items, refresh_items, sweep_items
from antiphon.data.transactions.log import Writes, append, append_to_thread, put_checkpoint
from antiphon.data.transactions.runs import (
    accept,
    answer,
    cancel,
    claim,
    finish,
    hand_back,
    pause,
    repeated,
)
from antiphon.data.transactions.threads import create_thread, delete_thread
from antiphon.data.transactions.transaction import Transaction

__all__ = [
    "Transaction",
    "Writes",
    "accept",
    "answer",
    "append",
    "append_to_thread",
    "cancel",
    "claim",
    "create_thread",
    "delete_flow",
    "delete_thread",
    "finish",
    "hand_back",
    "heartbeat",
    "issue_ticket",
    "pause",
    "publish_flow",
    "put_checkpoint",
    "put_items",
    "redeem_ticket",
    "refresh_items",
    "remember",
    "repeated",
    "revoke",
    "save_flow",
    "save_profile",
    "sweep_items",
]
