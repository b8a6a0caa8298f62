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

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from antiphon.api.openapi import dialect_of, opts_at
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.services import TICK_SECONDS, Services, as_problem
from antiphon.api.streams import Frames, sse_body

audit = logging.getLogger("antiphon.audit")

_BY_STATUS = {
    400: Problem("BAD_REQUEST", "The request is not valid."),
    401: Problem("AUTH_REQUIRED", "Authentication is required."),
    403: Problem("FORBIDDEN", "This is not allowed."),
    404: Problem("NOT_FOUND", "There is no such thing here."),
    405: Problem("METHOD_NOT_ALLOWED", "This method is not allowed here."),
    413: Problem("TOO_LARGE", "The request is too large."),
    415: Problem("UNSUPPORTED_DATA", "This content type is not understood here."),
}


def event_stream(
    services: Services,
    principal: Principal,
    dialect: Dialect,
    frames: Callable[[float], AsyncIterator[Frames | None]],
) -> Stream:
    """Return an SSE response: `frames(tick)` are its frames, with None every `tick` seconds.

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

    def in_a_hurry() -> bool:
        return services.engine.draining

    async def body() -> AsyncIterator[bytes]:
        streams = services.metrics.streams.labels("sse")
        with services.limits.connection(principal.id), streams.track_inprogress():
            async for piece in sse_body(frames(heartbeat / ticks), ticks, may_read, in_a_hurry):
                yield piece

    headers = {**sse.HEADERS, **dialect.response_headers}
    return Stream(body(), media_type=sse.MEDIA_TYPE, status_code=200, headers=headers)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Return any error of any route, in the vocabulary of the client that the route serves."""
    problem = _problem(error)
    services: Services = request.app.state.services
    services.metrics.refusals.labels(problem.code).inc()
    if problem.status in (401, 403, 429):
        client = request.client.host if request.client else None
        where = {"code": problem.code, "path": request.url.path, "client": client}
        audit.warning("refused a request", extra=where)
    if problem.code == "INTERNAL":
        what = "%s %s failed"
        request.app.state.log.error(what, request.method, request.url.path, exc_info=error)
    dialect = DIALECTS[_dialect(request)]
    status = dialect.bad_request if problem.status == 400 else problem.status
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, MethodNotAllowedException):
        methods = (error.headers or {}).get("allow", "").split(", ")
        # no `websocket`
        headers["Allow"] = ", ".join(sorted(method for method in methods if method.isupper()))
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.retry_after is not None or problem.status == 503:
        headers["Retry-After"] = str(problem.retry_after or 1)
    body = dialect.problem(problem, services.clock())
    return Response(body, status_code=status, media_type="application/json", headers=headers)


def _dialect(request: Request[Any, Any, Any]) -> str:
    """Return the vocabulary of the route; if no handler fits (405), of the handlers at its path."""
    handler = request.scope.get("route_handler")
    if handler is not None:
        return dialect_of(handler.opt)
    opts = opts_at(request.app.routes, request.url.path)
    return next((dialect_of(opt) for opt in opts if "dialect" in opt), "native")


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
    """Return which field is wrong and why, in the validator's words: nothing internal is shown."""
    listed = error.extra if isinstance(error.extra, list) else []
    extra = [entry for entry in listed if isinstance(entry, dict)]
    if [entry.get("message") for entry in extra] == ["'data'"]:
        return "The body is empty."
    reasons = [
        f"{entry.get('key', 'body')}: {entry.get('message', 'is not valid')}" for entry in extra
    ]
    return "; ".join(reasons) or "The request is not valid."
