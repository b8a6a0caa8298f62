"""The native wire: `/api/v1/runs`, `/api/v1/threads`, `WS /api/v1/ws`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, WebSocket, get, post, websocket
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, HeaderParameter, JSONBody

from api import sse
from api.auth import Principal
from api.dialects import DIALECTS
from api.dialects.native import read_ask
from api.problems import Problem
from api.routes.responses import event_stream
from api.routes.socket import converse
from api.services import Services, idempotency_key, start_of
from api.streams import START, Cursor, check_cursor, cursor_at, read_cursor, run_frames, thread_frames
from orchestrator.errors import ThingNotFound
from orchestrator.run import Run

NATIVE = DIALECTS["native"]
IdempotencyKey = Annotated[
    str | None, HeaderParameter(name="Idempotency-Key", description="Repeating a request with the same key is safe.")
]
LastEventId = Annotated[
    str | None, HeaderParameter(name="Last-Event-ID", description="Resume behind this event: `<run_id>:<seq>.<k>`.")
]


class Agents(msgspec.Struct, frozen=True, kw_only=True):
    """Which specialists are to answer."""

    primary: str | None = None
    supporting: list[str] | None = None


class RunRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be answered. `mode` is sequential, parallel, collaborative or debate."""

    message: str = ""
    thread_id: str | None = None
    graph: str | None = None
    agents: Agents | None = None
    mode: str | None = None
    on_busy: Literal["enqueue", "reject", "interrupt", "rollback"] | None = None


class AnswerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A human's answer to a run that waits."""

    answer: Any


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The message and its run are stored."""

    run_id: str
    thread_id: str
    message_id: str


@post("/api/v1/runs", status_code=202, responses={202: ResponseSpec(Accepted, description="The message is stored.")})
async def start_run(
    request: Request[Any, Any, Any],
    data: JSONBody[RunRequest],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Response[Any]:
    """Store a message and begin to answer it. With `Accept: text/event-stream`, the run's events are the response."""
    if _wants_stream(request):
        services.limits.check_connections(principal.id)
    if resumed := await services.resumed(request, principal):
        run, cursor = resumed
    else:
        run = await services.start_requested(request, read_ask(msgspec.to_builtins(data)), principal, "native")
        cursor = start_of(run)
    if _wants_stream(request):
        return event_stream(services, principal, lambda tick: run_frames(run, NATIVE, cursor, tick))
    return Response(_accepted(run), status_code=202)


def _wants_stream(request: Request[Any, Any, Any]) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _accepted(run: Run) -> Accepted:
    return Accepted(run_id=run.id, thread_id=run.thread_id, message_id=run.message_id)


@get("/api/v1/runs/{run_id:str}")
async def read_run(
    run_id: FromPath[str], services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> dict[str, Any]:
    """Where a run stands: status, text, usage."""
    record = await services.engine.record(run_id, principal.id)
    end = msgspec.json.decode(record.result) if record.result else {}
    return {
        "id": record.id,
        "run_id": record.id,
        "thread_id": record.thread_id,
        "message_id": record.input_message_id,
        "graph": record.graph,
        "status": record.status,
        "attempt": max(record.attempt, 1),
        "text": end.get("text") if record.status == "completed" else end.get("partial_text"),
        "usage": end.get("usage"),
        "error": {"code": end["code"], "message": end["message"]} if record.status == "failed" else None,
        "created_at": record.created_at,
        "finished_at": record.finished_at,
    }


@get("/api/v1/runs/{run_id:str}/events", media_type=sse.MEDIA_TYPE)
async def run_events(
    request: Request[Any, Any, Any],
    run_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    after: FromQuery[str | None] = None,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """A run's events as SSE, from its start or behind `Last-Event-ID` or `?after=`.

    204 when there is nothing left, or nothing before somebody answers the run's question.
    """
    services.limits.check_connections(principal.id)
    record = await services.engine.record(run_id, principal.id)
    cursor = _cursor(request, after)
    if cursor.run_id not in ("", "-", run_id):
        raise Problem("CURSOR_GONE", "This event is not of this run.")
    await check_cursor(services.engine, record.thread_id, cursor, principal.id)
    if not await services.engine.is_left(record, cursor.seq):
        return Response(None, status_code=204)
    run = Run(services.engine, record)
    return event_stream(services, principal, lambda tick: run_frames(run, NATIVE, cursor, tick))


def _cursor(request: Request[Any, Any, Any], after: str | None) -> Cursor:
    text = request.headers.get("last-event-id") or request.query_params.get("last_event_id") or after
    if not text:
        return START
    return cursor_at(int(text)) if text.isascii() and text.isdigit() and len(text) < 16 else read_cursor(text)


@post("/api/v1/runs/{run_id:str}/cancel", status_code=202)
async def cancel_run(
    run_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> dict[str, Any]:
    """Stop a run. What was said so far is kept. A run that has ended stays as it is."""
    await services.engine.cancel(run_id, principal.id)
    return {"run_id": run_id, "status": (await services.engine.record(run_id, principal.id)).status}


@post("/api/v1/runs/{run_id:str}/resume", status_code=202)
async def resume_run(
    request: Request[Any, Any, Any],
    run_id: FromPath[str],
    data: JSONBody[AnswerRequest],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Response[Any]:
    """Answer the question that a run waits with. With `Accept: text/event-stream`, what follows is the response."""
    if _wants_stream(request):
        services.limits.check_connections(principal.id)
    run = await services.engine.answer(run_id, data.answer, principal.id, idempotency_key=idempotency_key(request))
    if _wants_stream(request):
        return event_stream(services, principal, lambda tick: run_frames(run, NATIVE, start_of(run), tick))
    return Response(_accepted(run), status_code=202)


@get("/api/v1/threads")
async def list_threads(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> dict[str, list[dict[str, Any]]]:
    """The caller's threads, the newest first."""
    threads = await services.engine.threads(principal.id)
    return {"threads": [_without(thread, "user_id") for thread in threads]}


@get("/api/v1/threads/{thread_id:str}")
async def read_thread(
    thread_id: FromPath[str], services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> dict[str, Any]:
    """One thread."""
    return _without(await services.engine.thread(thread_id, principal.id), "user_id")


@get("/api/v1/threads/{thread_id:str}/messages")
async def read_messages(
    thread_id: FromPath[str], services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> dict[str, list[dict[str, Any]]]:
    """A thread's messages, the oldest first."""
    messages = await services.engine.messages(thread_id, principal.id)
    return {"messages": [_without(message) for message in messages]}


def _without(record: msgspec.Struct, *fields: str) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(record)
    return {name: value for name, value in shown.items() if name not in fields}


@get("/api/v1/threads/{thread_id:str}/events", media_type=sse.MEDIA_TYPE)
async def thread_events(
    request: Request[Any, Any, Any],
    thread_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    after: FromQuery[str | None] = None,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Everything that happens in a thread as SSE, for ever."""
    services.limits.check_connections(principal.id)
    await services.engine.thread(thread_id, principal.id)
    cursor = _cursor(request, after)
    if cursor.run_id not in ("", "-") and not await _stands_in(services, cursor.run_id, thread_id, principal):
        raise Problem("CURSOR_GONE", "This event is not of this thread.")
    await check_cursor(services.engine, thread_id, cursor, principal.id)
    return event_stream(
        services, principal, lambda tick: thread_frames(services.engine, thread_id, NATIVE, cursor, tick)
    )


async def _stands_in(services: Services, run_id: str, thread_id: str, principal: Principal) -> bool:
    try:
        return (await services.engine.run(run_id, principal.id)).thread_id == thread_id
    except ThingNotFound:
        return False


@websocket("/api/v1/ws")
async def native_socket(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """The native wire over WebSocket."""
    await converse(socket, NATIVE, services)


ROUTES = (
    start_run,
    read_run,
    run_events,
    cancel_run,
    resume_run,
    list_threads,
    read_thread,
    read_messages,
    thread_events,
    native_socket,
)
