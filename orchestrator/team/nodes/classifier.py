"""Who answers: the request's own choice, else the model's, else the nearest by words."""

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
from antiphon.orchestrator.team.routing import Profile, Route, read_route, route_by_words
from antiphon.orchestrator.team.state import TeamState
from antiphon.orchestrator.team.team import CLASSIFIER


async def classify(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
    """Decide the route and announce it."""
    emit = runtime.context.emit
    emit(Progress(value=0.1, stage="agent_routing", message="Routing to the right specialist…"))
    route = await _route(state, runtime.context)
    emit(
        Interaction(
            source=CLASSIFIER,
            target=route.primary,
            kind="route",
            query=route.part(route.primary, state["question"]),
            reason=route.reason,
        )
    )
    for agent in route.supporting:
        query = route.part(agent, state["question"])
        emit(
            Interaction(
                source=route.primary, target=agent, kind="consult", query=query, reason=route.reason
            )
        )
    return {"route": msgspec.to_builtins(route)}


async def choose(router: StructuredOutput, question: str, profiles: Sequence[Profile]) -> Route:
    """The route that the model chooses, or the nearest one by words where it gives no sensible answer."""
    messages = [SystemMessage(classify_prompt(profiles)), HumanMessage(question)]
    answer = await router.ask(messages, {"tags": ["nostream"]})
    return read_route(answer, [name for name, _, _ in profiles]) or route_by_words(
        question, profiles
    )


async def _route(state: TeamState, context: TeamContext) -> Route:
    question, asked_for = state["question"], state.get("primary")
    supporting = tuple(state.get("supporting") or ())
    if asked_for:
        others = tuple(name for name in supporting if name != asked_for)
        return Route(
            primary=asked_for, supporting=others, confidence=1.0, reason="chosen by the request"
        )
    profiles: list[Profile] = [
        (agent.name, agent.description, agent.examples) for agent in context.team
    ]
    route = await choose(context.router, question, profiles)
    if supporting:
        others = tuple(name for name in supporting if name != route.primary)
        route = msgspec.structs.replace(route, supporting=others, parts={})
    return route
