"""The built-in team as a graph to serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.language_models import BaseChatModel

from antiphon.orchestrator.environment import Search
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.graphs.served import Conclusion, ServedGraph
from antiphon.orchestrator.graphs.shape import shape_of
from antiphon.orchestrator.models import StructuredOutput
from antiphon.orchestrator.request import HistoryMessage, Request
from antiphon.orchestrator.team.graph import team_graph
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.routing import route_schema
from antiphon.orchestrator.team.state import route_of
from antiphon.orchestrator.team.team import Team

NAME = "team"
MOST_STEPS = 60


def serve_team(team: Team, model: BaseChatModel, retriever: Search) -> ServedGraph:
    """The team's graph with its model and its knowledge."""
    graph = team_graph(team).compile(name=NAME)
    router = StructuredOutput(model, route_schema(team.names))

    def context(given: Request, emit: Callable[[AnyEvent], None]) -> TeamContext:
        return TeamContext(
            team=team,
            model=model,
            router=router,
            retriever=retriever,
            access=tuple(given.access),
            emit=emit,
            profile=given.profile,
        )

    return ServedGraph(
        name=NAME,
        graph=graph,
        shape=shape_of(graph),
        make_input=_make_input,
        make_context=context,
        conclude=_conclude,
        steps=MOST_STEPS,
        agents=team.names,
        state="messages",
    )


def _conclude(state: Any) -> Conclusion:
    route = route_of(state)
    return Conclusion(state.get("answer", ""), state.get("answered_by", route.primary), route.confidence)


def _make_input(given: Request, history: list[HistoryMessage], left: bytes) -> dict[str, Any]:
    return {
        "question": given.message,
        "history": [{"role": message.role, "content": message.content} for message in given.history or history],
        "primary": given.primary,
        "supporting": list(given.supporting),
        "mode": given.mode,
    }
