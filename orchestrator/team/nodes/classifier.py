"""Decides who answers: the request's choice, else the model's, else the nearest by words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from langchain_core.messages import HumanMessage, SystemMessage
from langgraph.runtime import Runtime

from antiphon.orchestrator.events import Interaction, Progress
from antiphon.orchestrator.models import StructuredOutput
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.prompts import classify_prompt
from antiphon.orchestrator.team.routing import Candidate, Route, read_route, route_by_words
from antiphon.orchestrator.team.state import TeamState
from antiphon.orchestrator.team.team import CLASSIFIER


async def classify(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
    """Decide the route and announce it."""
    emit = runtime.context.emit
    emit(Progress(value=0.1, stage="agent_routing", message="Routing to the right specialist…"))
    route = await _route(state, runtime.context)
    for agent in route.agents:
        is_primary = agent == route.primary
        turn = Interaction(
            source=CLASSIFIER if is_primary else route.primary,
            target=agent,
            kind="route" if is_primary else "consult",
            query=route.part(agent, state["question"]),
            reason=route.reason,
        )
        emit(turn)
    return {"route": msgspec.to_builtins(route)}


async def choose(router: StructuredOutput, question: str, candidates: Sequence[Candidate]) -> Route:
    """Return the model's route, or the nearest by words if its answer is unusable."""
    messages = [SystemMessage(classify_prompt(candidates)), HumanMessage(question)]
    answer = await router.ask(messages, {"tags": ["nostream"]})
    route = read_route(answer, [name for name, _, _ in candidates])
    return route or route_by_words(question, candidates)


async def _route(state: TeamState, context: TeamContext) -> Route:
    question, primary = state["question"], state.get("primary")
    supporting = tuple(state.get("supporting") or ())
    if primary:
        others = tuple(name for name in supporting if name != primary)
        return Route(
            primary=primary, supporting=others, confidence=1.0, reason="chosen by the request"
        )
    candidates = [(agent.name, agent.description, agent.examples) for agent in context.team]
    route = await choose(context.router, question, candidates)
    if supporting:
        others = tuple(name for name in supporting if name != route.primary)
        route = msgspec.structs.replace(route, supporting=others, parts={})
    return route
