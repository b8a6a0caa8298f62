"""How streams and errors are answered over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException, ValidationException
from litestar.response import Stream

from api import sse
from api.dialects import DIALECTS
from api.dialects.base import Frame
from api.problems import Problem
from api.services import Services, as_problem
from api.streams import sse_body

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


def event_stream(frames: Frames) -> Stream:
    """An SSE response."""
    return Stream(sse_body(frames), media_type=sse.MEDIA_TYPE, status_code=200, headers=sse.HEADERS)


def on_error(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Every error of every route, in the vocabulary of the client that the route serves."""
    problem = _problem(error)
    services: Services = request.app.state.services
    if problem.code == "INTERNAL":
        request.app.state.log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    handler = request.scope.get("route_handler")
    dialect = DIALECTS[handler.opt.get("dialect", "native") if handler is not None else "native"]
    headers = {"Cache-Control": "no-store"}
    if problem.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if problem.status == 503:
        headers["Retry-After"] = "1"
    body = dialect.problem(problem, services.clock())
    return Response(body, status_code=problem.status, media_type="application/json", headers=headers)


def _problem(error: Exception) -> Problem:
    if isinstance(error, RecursionError | SerializationException):
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
