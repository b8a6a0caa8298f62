"""The native wire over HTTP: `/api/v1/runs` and `/api/v1/threads`."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.native import RunRequest
from antiphon.api.dialects.words import Name, read_body
from antiphon.api.openapi import STREAM
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.headers import IdempotencyKey, LastEventId
from antiphon.api.routes.responses import event_stream
from antiphon.api.services import Services, idempotency_key, start_of
from antiphon.api.streams import (
    START,
    Cursor,
    check_cursor,
    cursor_at,
    read_cursor,
    run_frames,
    thread_frames,
)
from antiphon.data.errors import NotFound
from antiphon.data.records import Message, RunStatus, Thread
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.events import Usage

NATIVE = DIALECTS["native"]
OPT = {"dialect": NATIVE.name}


class AnswerRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A human's answer to a run that waits: to the question with this `id`, or to the oldest one.

    An object whose keys are ids of open questions answers all of these.
    """

    answer: Any
    id: Name | None = None


class AcceptedRun(msgspec.Struct, frozen=True, kw_only=True):
    """The message and its run are stored."""

    run_id: str
    thread_id: str
    message_id: str


class RunFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a run failed."""

    code: str
    message: str


class RunState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run stands. `text` is the answer, or what there was of it when the run ended.

    Times are in ms since the epoch.
    """

    id: str
    run_id: str
    thread_id: str
    message_id: str
    graph: str
    status: RunStatus
    attempt: int
    text: str | None
    usage: Usage | None
    error: RunFailure | None
    created_at: int
    finished_at: int | None


class Stopped(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was to be stopped, and its status now."""

    run_id: str
    status: RunStatus


class ThreadState(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation; `last_seq` is the number of its newest event."""

    id: str
    title: str | None
    created_at: int
    updated_at: int
    last_seq: int
    head_message_id: str | None


class ThreadStates(msgspec.Struct, frozen=True, kw_only=True):
    """A caller's threads."""

    threads: list[ThreadState]


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """A thread's messages."""

    messages: list[Message]


ACCEPTED = {202: ResponseSpec(AcceptedRun, description="The message is stored."), 200: STREAM}
GONE_BY = {204: ResponseSpec(None, description="Nothing is left.")}


@post(
    "/api/v1/runs",
    status_code=202,
    responses=ACCEPTED,
    opt=OPT | {"body": RunRequest, "refuses": (404, 409)},
)
async def start_run(
    request: Request[Any, Any, Any],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Response[Any]:
    """Store a message and begin to answer it.

    With `Accept: text/event-stream`, the run's events are the response.
    """
    if _wants_stream(request):
        services.limits.check_connections(principal.id)
    if resumed := await services.resumed(request, principal, NATIVE.name):
        run, cursor = resumed
    else:
        message = read_body(await request.body(), RunRequest)
        run = await services.start_requested(request, NATIVE.request(message), principal)
        cursor = start_of(run)
    if _wants_stream(request):
        return event_stream(
            services, principal, NATIVE, lambda tick: run_frames(run, NATIVE, cursor, tick)
        )
    return Response(_accepted(run), status_code=202)


def _wants_stream(request: Request[Any, Any, Any]) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


def _accepted(run: Run) -> AcceptedRun:
    return AcceptedRun(run_id=run.id, thread_id=run.thread_id, message_id=run.message_id)


@get("/api/v1/runs/{run_id:str}", opt=OPT)
async def read_run(
    run_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> RunState:
    """Where a run stands: status, text, usage."""
    record = await services.engine.record(run_id, principal.id)
    end = msgspec.json.decode(record.result) if record.result else {}
    return RunState(
        id=record.id,
        run_id=record.id,
        thread_id=record.thread_id,
        message_id=record.input_message_id,
        graph=record.graph,
        status=record.status,
        attempt=max(record.attempt, 1),
        text=end.get("text") if record.status == "completed" else end.get("partial_text"),
        usage=msgspec.convert(end.get("usage"), Usage | None),
        error=RunFailure(code=end["code"], message=end["message"])
        if record.status == "failed"
        else None,
        created_at=record.created_at,
        finished_at=record.finished_at,
    )


@get("/api/v1/runs/{run_id:str}/events", media_type=sse.MEDIA_TYPE, responses=GONE_BY, opt=OPT)
async def run_events(
    request: Request[Any, Any, Any],
    run_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    after: FromQuery[str | None] = None,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """A run's events as SSE, from its start or after `Last-Event-ID` or `?after=`.

    204 when there is nothing left, or nothing before the run's question is answered.
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
    return event_stream(
        services, principal, NATIVE, lambda tick: run_frames(run, NATIVE, cursor, tick)
    )


def _cursor(request: Request[Any, Any, Any], after: str | None) -> Cursor:
    text = (
        request.headers.get("last-event-id") or request.query_params.get("last_event_id") or after
    )
    if not text:
        return START
    return (
        cursor_at(int(text))
        if text.isascii() and text.isdigit() and len(text) < 16
        else read_cursor(text)
    )


@post("/api/v1/runs/{run_id:str}/cancel", status_code=202, opt=OPT)
async def cancel_run(
    run_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Stopped:
    """Stop a run. The text so far is kept. A run that has ended stays as it is."""
    await services.engine.cancel(run_id, principal.id)
    return Stopped(
        run_id=run_id, status=(await services.engine.record(run_id, principal.id)).status
    )


@post(
    "/api/v1/runs/{run_id:str}/resume",
    status_code=202,
    responses=ACCEPTED,
    opt=OPT | {"refuses": (409, 422)},
)
async def resume_run(
    request: Request[Any, Any, Any],
    run_id: FromPath[str],
    data: JSONBody[AnswerRequest],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Response[Any]:
    """Answer a question that a run waits with.

    With `Accept: text/event-stream`, what follows is the response.
    """
    if _wants_stream(request):
        services.limits.check_connections(principal.id)
    run = await services.engine.answer(
        run_id,
        data.answer,
        principal.id,
        question=data.id or None,
        idempotency_key=idempotency_key(request),
    )
    if _wants_stream(request):
        return event_stream(
            services, principal, NATIVE, lambda tick: run_frames(run, NATIVE, start_of(run), tick)
        )
    return Response(_accepted(run), status_code=202)


@get("/api/v1/threads", opt=OPT)
async def list_threads(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> ThreadStates:
    """The caller's threads, the newest first."""
    threads = await services.engine.threads(principal.id)
    return ThreadStates(threads=[_shown(thread) for thread in threads])


@get("/api/v1/threads/{thread_id:str}", opt=OPT)
async def read_thread(
    thread_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> ThreadState:
    """One thread."""
    return _shown(await services.engine.thread(thread_id, principal.id))


@get("/api/v1/threads/{thread_id:str}/messages", opt=OPT)
async def read_messages(
    thread_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> Messages:
    """A thread's messages, the oldest first."""
    return Messages(messages=list(await services.engine.messages(thread_id, principal.id)))


def _shown(thread: Thread) -> ThreadState:
    return msgspec.convert(thread, ThreadState, from_attributes=True)


@get("/api/v1/threads/{thread_id:str}/events", media_type=sse.MEDIA_TYPE, opt=OPT)
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
    if cursor.run_id not in ("", "-") and not await _stands_in(
        services, cursor.run_id, thread_id, principal
    ):
        raise Problem("CURSOR_GONE", "This event is not of this thread.")
    await check_cursor(services.engine, thread_id, cursor, principal.id)
    return event_stream(
        services,
        principal,
        NATIVE,
        lambda tick: thread_frames(services.engine, thread_id, NATIVE, cursor, tick),
    )


async def _stands_in(services: Services, run_id: str, thread_id: str, principal: Principal) -> bool:
    try:
        return (await services.engine.run(run_id, principal.id)).thread_id == thread_id
    except NotFound:
        return False


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
)
