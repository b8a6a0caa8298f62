"""Makes the routes of the doors that dialects list: a stream, a wait, a WebSocket.

A request goes one way: its body is read as the declared class, completed by the query and the
settings, given its conversation by the path, and accepted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from litestar import Request as HttpRequest
from litestar import Response, WebSocket, post, websocket
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.types import ControllerRouterHandler
from msgspec.structs import replace

from antiphon.api import sse
from antiphon.api.dialects.base import Dialect, Endpoint, Stream, Talk, Turn, Wait
from antiphon.api.dialects.words import ClientMessage, read_body, read_name, read_object
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.flows import executing
from antiphon.api.routes.headers import IdempotencyKey, LastEventId
from antiphon.api.routes.responses import event_stream
from antiphon.api.routes.socket import converse
from antiphon.api.services import Services, start_of
from antiphon.api.settings import Settings
from antiphon.api.streams import run_frames
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.request import Request

Http = HttpRequest[Any, Any, Any]
Decorator = Callable[[Callable[..., Any]], ControllerRouterHandler]


def handler(dialect: Dialect, door: Endpoint) -> ControllerRouterHandler:
    """Return the route handler of a dialect's door."""
    path = re.sub(r"{(\w+)}", r"{\1:str}", door.path)
    return MAKERS[type(door)](path, dialect, door)


def _stream(path: str, dialect: Dialect, door: Stream) -> ControllerRouterHandler:
    @_post(path, dialect, door, 409, media_type=sse.MEDIA_TYPE)
    async def stream(
        request: Http,
        services: NamedDependency[Services],
        principal: NamedDependency[Principal],
        key: IdempotencyKey = None,
        last_event_id: LastEventId = None,
    ) -> Response[Any]:
        services.limits.check_connections(principal.id)
        spoken = dialect
        if resumed := await services.resumed(request, principal, dialect.name):
            run, cursor = resumed
        else:
            run = await _start(request, services, principal, dialect, door)
            cursor = start_of(run)
            spoken = dialect if run.created else dialect.repeated()
        return event_stream(
            services, principal, dialect, lambda tick: run_frames(run, spoken, cursor, tick)
        )

    return stream


def _wait(path: str, dialect: Dialect, door: Wait) -> ControllerRouterHandler:
    answers = {200: ResponseSpec(door.answer, description="The answer.")}
    if door.failure is not None:
        answers[502] = ResponseSpec(door.failure, description="The run failed.")

    @_post(path, dialect, door, 409, 502, responses=answers)
    async def wait(
        request: Http,
        services: NamedDependency[Services],
        principal: NamedDependency[Principal],
        key: IdempotencyKey = None,
    ) -> Response[Any]:
        run = await _start(request, services, principal, dialect, door)
        tick = services.settings.heartbeat_seconds
        frames: dict[type, Any] = {}
        async for batch in run_frames(run, dialect, start_of(run), tick):
            for _, frame in batch or ():
                frames.pop(type(frame.data), None)  # so that the last one stands last
                frames[type(frame.data)] = frame.data
        message = await services.last_message(run)
        answer = dialect.answer(Turn(frames, message, request.path_params))
        if answer is None:
            raise Problem("UNAVAILABLE", "The server is about to stop; the answer goes on.")
        failed = door.failure is not None and isinstance(answer, door.failure)
        return Response(answer, status_code=502 if failed else 200)

    return wait


def _talk(path: str, dialect: Dialect, door: Talk) -> ControllerRouterHandler:
    async def talk(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
        connection_id = socket.path_params.get("connection_id")
        adapt = executing(socket, services) if "agent_id" in socket.path_params else None
        idle_seconds = services.settings.idle_seconds if door.closes_when_idle else None
        await converse(socket, dialect, services, connection_id, adapt, idle_seconds)

    talk.__name__ = f"{dialect.name}_socket"
    talk.__doc__ = door.about
    return websocket(path, opt={"dialect": dialect.name})(talk)


def _post(path: str, dialect: Dialect, door: Stream, *refuses: int, **more: Any) -> Decorator:
    """Return what makes a function the handler of a POST; `refuses` are documented statuses."""
    query = tuple(door.defaults)
    opt = {"dialect": dialect.name, "body": door.body, "query": query, "refuses": refuses}
    return post(path, status_code=200, description=door.about, opt=opt, **more)


async def _start(
    request: Http, services: Services, principal: Principal, dialect: Dialect, door: Stream
) -> Run:
    message = read_body(await request.body(), door.body)
    if door.defaults:
        message = _completed(message, door.defaults, request.query_params, services.settings)
    asked = _placed(dialect.request(message), request.path_params)
    return await services.start_requested(request, asked, principal)


def _completed(
    message: ClientMessage,
    defaults: Mapping[str, str],
    query: Mapping[str, Any],
    settings: Settings,
) -> ClientMessage:
    """Fill fields that the body leaves out from the query, else from the settings."""
    values = {field: getattr(settings, setting) for field, setting in defaults.items()}
    values |= {field: query[field] for field in defaults if field in query}
    body = msgspec.to_builtins(message)
    values |= {field: value for field, value in body.items() if value is not None}
    return read_object(values, type(message), strict=False)


def _placed(asked: Request, place: Mapping[str, str]) -> Request:
    """Return a message for the conversation that the path names."""
    if "thread_id" in place:
        asked = replace(asked, thread_id=place["thread_id"])
    if "session_id" in place:
        asked = replace(asked, thread_name=read_name(place["session_id"], "session_id"))
    return asked


MAKERS: dict[type[Endpoint], Callable[..., ControllerRouterHandler]] = {
    Stream: _stream,
    Wait: _wait,
    Talk: _talk,
}
