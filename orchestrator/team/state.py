"""The team's state while it answers one message. Plain JSON types only: any checkpoint can be read back. Pure."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import msgspec

from antiphon.orchestrator.team.prompts import Draft, Source
from antiphon.orchestrator.team.routing import Route


class TeamState(TypedDict, total=False):
    """What nodes read and write. `drafts` and `sources` grow; everything else is replaced."""

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
    """The routing decision."""
    return msgspec.convert(state["route"], Route)


def drafts_of(state: TeamState) -> list[Draft]:
    """What each specialist contributed last, in order; a later round replaces an earlier one."""
    latest: dict[str, Draft] = {}
    for given in state.get("drafts", []):
        draft = msgspec.convert(given, Draft)
        if draft.error is None or draft.agent not in latest:
            latest[draft.agent] = draft
    return list(latest.values())


def sources_of(state: TeamState) -> list[Source]:
    """What was retrieved for the whole question."""
    return [msgspec.convert(source, Source) for source in state.get("sources", [])]
