"""The team's graph: wiring only.

    START → classifier → coordinator ⇉ (retriever ∥ drafting specialists) → coordinator → …
          → answer | synthesis → END

The coordinator decides what comes next from the state alone. It is not an agent, and writes no
events.
"""

from __future__ import annotations

from typing import Any

import msgspec
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

from antiphon.orchestrator.budget import UNLIMITED, Limits
from antiphon.orchestrator.recording.metadata import LABEL
from antiphon.orchestrator.team.nodes.answers import (
    answer_failed,
    answer_node,
    draft_failed,
    draft_node,
    synthesize,
)
from antiphon.orchestrator.team.nodes.classifier import classify
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.nodes.retrieval import retrieve
from antiphon.orchestrator.team.routing import Route
from antiphon.orchestrator.team.state import TeamState, route_of
from antiphon.orchestrator.team.team import CLASSIFIER, RETRIEVER, SYNTHESIS, Team

COORDINATOR = "coordinator"


def answering(agent: str) -> str:
    """Return the name of the node in which an agent answers, as opposed to drafting for others."""
    return f"{agent}_answer"


def team_graph(team: Team) -> StateGraph[TeamState, TeamContext, TeamState, TeamState]:
    """Return the graph of a team, not compiled."""
    graph = StateGraph(TeamState, context_schema=TeamContext)
    graph.add_node(CLASSIFIER, classify, metadata=_label(CLASSIFIER, "classifier", "draft"))
    graph.add_node(COORDINATOR, _coordinate, metadata={LABEL: {"agent": ""}})
    graph.add_node(RETRIEVER, retrieve, metadata=_label(RETRIEVER, "retriever", "draft"))
    graph.add_node(SYNTHESIS, synthesize, metadata=_label(SYNTHESIS, "synthesis", "answer"))
    graph.add_edge(START, CLASSIFIER)
    graph.add_edge(CLASSIFIER, COORDINATOR)
    graph.add_edge(RETRIEVER, COORDINATOR)
    for agent in team:
        name, limits = agent.name, agent.limits
        graph.add_node(
            name,
            draft_node(name),
            metadata=_label(name, "supporting", "draft", limits),
            error_handler=draft_failed(name),
        )
        graph.add_node(
            answering(name),
            answer_node(name),
            metadata=_label(name, "primary", "answer", limits),
            error_handler=answer_failed(name),
        )
        graph.add_edge(name, COORDINATOR)
        graph.add_edge(answering(name), END)
    targets = [RETRIEVER, SYNTHESIS, *team.names, *map(answering, team.names)]
    graph.add_conditional_edges(COORDINATOR, _next, targets)
    graph.add_edge(SYNTHESIS, END)
    return graph


def _label(agent: str, role: str, channel: str, limits: Limits = UNLIMITED) -> dict[str, Any]:
    fields = {"agent": agent, "role": role, "channel": channel}
    return {LABEL: fields | {"limits": msgspec.to_builtins(limits)}}


async def _coordinate(state: TeamState) -> dict[str, Any]:
    return {}


async def _next(state: TeamState) -> list[Send]:
    """Return the nodes to run next.

    It counts drafts, so that the result is the same after a crash as before.
    """
    route, mode = route_of(state), state.get("mode")
    drafters = _drafters(route, mode)
    made = len(state.get("drafts", []))
    rounds = 2 if mode == "debate" else 1
    turn = [] if state.get("retrieved") else [Send(RETRIEVER, state)]
    if mode == "sequential":
        turn += [Send(name, state) for name in drafters[made : made + 1]]
    elif made < rounds * len(drafters):
        turn += [Send(name, state) for name in drafters]
    return turn or [Send(_writer(route, mode), state)]


def _drafters(route: Route, mode: str | None) -> tuple[str, ...]:
    """Return who drafts: the supporting specialists; if a synthesis follows, also the primary."""
    return route.agents if _writer(route, mode) == SYNTHESIS else route.supporting


def _writer(route: Route, mode: str | None) -> str:
    """Return who answers: the primary specialist, or the synthesis if drafts are combined."""
    are_equals = mode in ("collaborative", "debate") or len(route.parts) > 1
    return SYNTHESIS if route.supporting and are_equals else answering(route.primary)
