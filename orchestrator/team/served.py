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
STEPS = 60
"""The limit of steps of one run."""


def serve_team(team: Team, model: BaseChatModel, retriever: Search) -> ServedGraph:
    """Return the team's graph, with a model and a retriever, ready to serve."""
    graph = team_graph(team).compile(name=NAME)
    router = StructuredOutput(model, route_schema(team.names))

    def context(request: Request, emit: Callable[[AnyEvent], None]) -> TeamContext:
        return TeamContext(
            team=team,
            model=model,
            router=router,
            retriever=retriever,
            access=tuple(request.access),
            emit=emit,
            profile=request.profile,
        )

    return ServedGraph(
        name=NAME,
        graph=graph,
        shape=shape_of(graph),
        make_input=_make_input,
        make_context=context,
        conclude=_conclude,
        steps=STEPS,
        agents=team.names,
        state="messages",
    )


def _conclude(state: Any) -> Conclusion:
    route = route_of(state)
    author = state.get("answered_by", route.primary)
    return Conclusion(state.get("answer", ""), author, route.confidence)


def _make_input(request: Request, history: list[HistoryMessage], kept: bytes) -> dict[str, Any]:
    earlier = request.history or history
    return {
        "question": request.message,
        "history": [{"role": message.role, "content": message.content} for message in earlier],
        "primary": request.primary,
        "supporting": list(request.supporting),
        "mode": request.mode,
    }
