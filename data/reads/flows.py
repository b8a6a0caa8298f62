"""Graphs that users have defined, and users' profiles; as opaque bytes."""

from __future__ import annotations

from sqlalchemy import Connection, select

from antiphon.data import schema
from antiphon.data.reads.records import all_records, first_record
from antiphon.data.records import FlowRecord


def flow(connection: Connection, agent_id: str) -> FlowRecord | None:
    """Return a flow by its id."""
    table = schema.flows
    return first_record(connection, FlowRecord, select(table).where(table.c.agent_id == agent_id))


def flows_of(connection: Connection, owner: str) -> list[FlowRecord]:
    """Return a user's flows, the last changed first."""
    table = schema.flows
    query = select(table).where(table.c.owner == owner).order_by(table.c.updated_at.desc())
    return all_records(connection, FlowRecord, query)


def any_flow(connection: Connection) -> bool:
    """Return whether any flow is published."""
    table = schema.flows
    query = select(table.c.agent_id).where(table.c.published.is_not(None)).limit(1)
    return connection.scalar(query) is not None


def flow_revision(connection: Connection, agent_id: str, revision: int) -> bytes | None:
    """Return one revision's definition."""
    table = schema.flow_revisions
    of_flow = table.c.agent_id == agent_id
    value = connection.scalar(
        select(table.c.definition).where(of_flow, table.c.revision == revision)
    )
    return None if value is None else bytes(value)


def profile(connection: Connection, user_id: str) -> bytes | None:
    """Return a user's profile."""
    table = schema.profiles
    value = connection.scalar(select(table.c.value).where(table.c.user_id == user_id))
    return None if value is None else bytes(value)
