"""Seed 002's routes: `POST /api/streaming/multi-agent/stream`, `WS /api/streaming/ws/{connection_id}`, the fallback."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, WebSocket, post, websocket
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, JSONBody

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Mode, Name, Names, Text, needs
from antiphon.api.dialects.multi_agent import TeamComplete, TeamError, read_request
from antiphon.api.principal import Principal
from antiphon.api.routes.native import IdempotencyKey, LastEventId
from antiphon.api.routes.responses import event_stream
from antiphon.api.routes.socket import converse
from antiphon.api.services import Services, start_of
from antiphon.api.streams import run_frames

MULTI_AGENT = DIALECTS["multi_agent"]
OPT = {"dialect": MULTI_AGENT.name}


class MultiAgentRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A question for the team; `message` and `content` are other names of `query`.

    `coordination_mode` is sequential, parallel, collaborative (or enhanced_collaborative) or debate. `context` may hold
    `session_id`, and `stream_supporting: true` to see the supporting agents' text as well.
    """

    query: Text | None = None
    message: Text | None = None
    content: Text | None = None
    coordination_mode: Mode | None = None
    primary_agent: Name | None = None
    supporting_agents: Names | None = None
    context: dict[str, Any] | None = None
    session_id: Name | None = None
    product_id: str | int | None = None
    user_id: str | int | None = None


ANSWERS = {
    200: ResponseSpec(TeamComplete, description="The answer."),
    502: ResponseSpec(TeamError, description="The run failed."),
}


@post("/api/streaming/multi-agent/stream", status_code=200, media_type=sse.MEDIA_TYPE, opt=OPT)
async def stream(
    request: Request[Any, Any, Any],
    data: JSONBody[Annotated[MultiAgentRequest, needs("query", "message", "content")]],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Ask the team; the response is an SSE stream of agents' events that ends with `complete`."""
    services.limits.check_connections(principal.id)
    if resumed := await services.resumed(request, principal):
        run, cursor = resumed
    else:
        asked = read_request(msgspec.to_builtins(data))
        run = await services.start_requested(request, asked, principal)
        cursor = start_of(run)
    return event_stream(services, principal, lambda tick: run_frames(run, MULTI_AGENT, cursor, tick))


@post("/api/multi-agent/process", status_code=200, responses=ANSWERS, opt=OPT)
async def process(
    request: Request[Any, Any, Any],
    data: JSONBody[Annotated[MultiAgentRequest, needs("query", "message", "content")]],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Response[Any]:
    """Ask the team and wait: the response is the frame that would end the stream."""
    asked = read_request(msgspec.to_builtins(data))
    run = await services.start_requested(request, asked, principal)
    last: dict[str, Any] = {}
    async for frames in run_frames(run, MULTI_AGENT, start_of(run), services.settings.heartbeat_seconds):
        last = frames[-1][1].data if frames else last
    return Response(last, status_code=200 if last.get("type") == "complete" else 502)


@websocket("/api/streaming/ws/{connection_id:str}", opt=OPT)
async def multi_agent_socket(
    socket: WebSocket[Any, Any, Any], connection_id: FromPath[str], services: NamedDependency[Services]
) -> None:
    """The same over WebSocket. A client that comes back with its connection id gets what it has missed."""
    await converse(socket, MULTI_AGENT, services, connection_id)


ROUTES = (stream, process, multi_agent_socket)
