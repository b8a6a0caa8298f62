"""The team's state while it answers one message. Pure.

It has plain JSON types only, so that any checkpoint can be read back.
"""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import msgspec

from antiphon.orchestrator.team.prompts import Draft, Source
from antiphon.orchestrator.team.routing import Route


class TeamState(TypedDict, total=False):
    """The state that nodes read and write. `drafts` and `sources` grow; other keys are replaced."""

    question: str
    history: list[dict[str, str]]
    primary: str | None
    supporting: list[str]
    mode: str | None
    route: dict[str, Any]
    sources: Annotated[list[dict[str, Any]], operator.add]
    retrieved: bool
    drafts: Annotated[list[dict[str, Any]], operator.add]
    answer: str
    answered_by: str


def route_of(state: TeamState) -> Route:
    """Return the routing decision."""
    return msgspec.convert(state["route"], Route)


def drafts_of(state: TeamState) -> list[Draft]:
    """Return each specialist's last contribution, in order; an error does not replace a text."""
    latest: dict[str, Draft] = {}
    for fields in state.get("drafts", []):
        draft = msgspec.convert(fields, Draft)
        if draft.error is None or draft.agent not in latest:
            latest[draft.agent] = draft
    return list(latest.values())


def sources_of(state: TeamState) -> list[Source]:
    """Return the sources for the whole question."""
    return [msgspec.convert(source, Source) for source in state.get("sources", [])]
