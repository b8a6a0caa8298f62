"""Graphs that users have defined, and users' profiles; as opaque bytes."""

from __future__ import annotations

from antiphon.data.errors import NotFound
from antiphon.data.records import FlowRecord
from antiphon.data.transactions.transaction import Transaction, insertion


def save_flow(tx: Transaction, agent_id: str, owner: str, definition: bytes, at: int) -> FlowRecord:
    """Store a definition as a new draft. Raises `NotFound` for another user's flow."""
    flow = _flow(tx, agent_id)
    if flow is not None and flow.owner != owner:
        raise NotFound(agent_id)
    newest = tx.one(
        "SELECT MAX(revision) FROM flow_revisions WHERE agent_id = :agent_id", agent_id=agent_id
    )
    revision = int(newest[0] or 0) + 1 if newest else 1
    tx.execute(
        insertion("flow_revisions", ("agent_id", "revision", "definition", "at")),
        agent_id=agent_id,
        revision=revision,
        definition=definition,
        at=at,
    )
    tx.execute(
        "INSERT INTO flows (agent_id, owner, draft, created_at, updated_at)"
        " VALUES (:agent_id, :owner, :draft, :at, :at)"
        " ON CONFLICT (agent_id)"
        " DO UPDATE SET draft = excluded.draft, updated_at = excluded.updated_at",
        agent_id=agent_id,
        owner=owner,
        draft=revision,
        at=at,
    )
    return _own_flow(tx, agent_id, owner)


def publish_flow(
    tx: Transaction, agent_id: str, owner: str, at: int, published: bool = True
) -> FlowRecord:
    """Let others run the present draft, or, if not `published`, nothing. Raises `NotFound`."""
    flow = _own_flow(tx, agent_id, owner)
    tx.execute(
        "UPDATE flows SET published = :published, updated_at = :at WHERE agent_id = :agent_id",
        published=flow.draft if published else None,
        at=at,
        agent_id=agent_id,
    )
    return _own_flow(tx, agent_id, owner)


def delete_flow(tx: Transaction, agent_id: str, owner: str) -> None:
    """Delete a flow. Its revisions stay, as unfinished runs may need them. Raises `NotFound`."""
    _own_flow(tx, agent_id, owner)
    tx.execute("DELETE FROM flows WHERE agent_id = :agent_id", agent_id=agent_id)


def _own_flow(tx: Transaction, agent_id: str, owner: str) -> FlowRecord:
    flow = _flow(tx, agent_id)
    if flow is None or flow.owner != owner:
        raise NotFound(agent_id)
    return flow


def _flow(tx: Transaction, agent_id: str) -> FlowRecord | None:
    return tx.find(FlowRecord, "flows", "agent_id", agent_id)


def save_profile(tx: Transaction, user_id: str, value: bytes | None, at: int) -> None:
    """Store a user's profile, or delete it for None."""
    tx.execute("DELETE FROM profiles WHERE user_id = :user_id", user_id=user_id)
    if value is not None:
        statement = insertion("profiles", ("user_id", "value", "updated_at"))
        tx.execute(statement, user_id=user_id, value=value, updated_at=at)
