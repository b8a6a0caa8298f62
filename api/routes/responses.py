"""How streams and errors are answered over HTTP."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from litestar import Request, Response
from litestar.exceptions import (
    HTTPException,
    MethodNotAllowedException,
    SerializationException,
    ValidationException,
)
from litestar.response import Stream

from api import sse
from api.auth import Principal
from api.dialects import DIALECTS
from api.dialects.base import Frame
from api.openapi import dialect_of, dialects_at
from api.problems import Problem
from api.services import TICK_SECONDS, Services, as_problem
from api.streams import sse_body

audit = logging.getLogger("antiphon.audit")
Frames = AsyncIterator[list[tuple[str, Frame]] | None]

_BY_STATUS = {
    400: Problem("BAD_REQUEST", "The request is not valid."),
    401: Problem("AUTH_REQUIRED", "Authentication is required."),
    403: Problem("FORBIDDEN", "This is not allowed."),
    404: Problem("NOT_FOUND", "There is no such thing here."),
    405: Problem("METHOD_NOT_ALLOWED", "This method is not allowed here."),
    413: Problem("TOO_LARGE", "The request is too large."),
    415: Problem("UNSUPPORTED_DATA", "This content type is not understood here."),
}


def event_stream(services: Services, principal: Principal, frames: Callable[[float], Frames]) -> Stream:
    """An SSE response: `frames(tick)` are its frames, with None every `tick` seconds.

    It ends when the reader's token expires or is revoked; the run goes on.
    """
    heartbeat = services.settings.heartbeat_seconds
    ticks = max(1, round(heartbeat / TICK_SECONDS)) if principal.expires_at is not None else 1

    def may_read() -> bool:
        try:
            services.authenticator.check(principal, services.clock())
        except Problem:
            return False
        return True

    async def body() -> AsyncIterator[bytes]:
        with services.limits.connection(principal.id), services.metrics.streams.labels("sse").track_inprogress():
            async for piece in sse_body(frames(heartbeat / ticks), ticks, may_read):
                yield piece

    return Stream(body(), media_type=sse.MEDIA_TYPE, status_code=200, headers=sse.HEADERS)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Every error of every route, in the vocabulary of the client that the route serves."""
    problem = _problem(error)
    services: Services = request.app.state.services
    services.metrics.refusals.labels(problem.code).inc()
    if problem.status in (401, 403, 429):
        client = request.client.host if request.client else None
        audit.warning("refused a request", extra={"code": problem.code, "path": request.url.path, "client": client})
    if problem.code == "INTERNAL":
        request.app.state.log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    dialect = DIALECTS[_dialect_of(request)]
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, MethodNotAllowedException):
        told = (error.headers or {}).get("allow", "").split(", ")
        headers["Allow"] = ", ".join(sorted(method for method in told if method.isupper()))  # no `websocket`
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.retry_after is not None or problem.status == 503:
        headers["Retry-After"] = str(problem.retry_after or 1)
    body = dialect.problem(problem, services.clock())
    return Response(body, status_code=problem.status, media_type="application/json", headers=headers)


def _dialect_of(request: Request[Any, Any, Any]) -> str:
    """The vocabulary of the route; where a request fits no handler (405), that of the handlers at its path."""
    handler = request.scope.get("route_handler")
    if handler is not None:
        return dialect_of(handler.opt)
    return next(iter(dialects_at(request.app.routes, request.url.path)), dialect_of({}))


def _problem(error: Exception) -> Problem:
    if isinstance(error, RecursionError | SerializationException | UnicodeDecodeError):
        return Problem("INVALID_JSON", "The body is not valid JSON.")
    if isinstance(error, ValidationException):
        return Problem("BAD_REQUEST", _what_is_wrong(error))
    if isinstance(error, HTTPException):
        if isinstance(error.__cause__ or error.__context__, SerializationException):
            return Problem("INVALID_JSON", "The body is not valid JSON.")
        return _BY_STATUS.get(error.status_code, as_problem(error))
    return as_problem(error)


def _what_is_wrong(error: ValidationException) -> str:
    """Which field is wrong and why, in the validator's own words; nothing of the server is in them."""
    extra = error.extra if isinstance(error.extra, list) else []
    if [one.get("message") for one in extra if isinstance(one, dict)] == ["'data'"]:
        return "The body is empty."
    told = [f"{one.get('key', 'body')}: {one.get('message', 'is not valid')}" for one in extra if isinstance(one, dict)]
    return "; ".join(told) or "The request is not valid."
