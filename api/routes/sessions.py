"""Seed 004's routes: `/sessions`, their messages, and `POST /sessions/{sessionId}/messages/stream`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any, Literal

import msgspec
from litestar import Request, Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Frame, iso
from antiphon.api.dialects.sessions import ENDS, read_message, read_session_id
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.native import IdempotencyKey, LastEventId
from antiphon.api.routes.responses import event_stream
from antiphon.api.services import Services, start_of
from antiphon.api.streams import Cursor, run_frames
from antiphon.data import reads
from antiphon.data.records import Message, Thread
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.request import Request as AskedRequest

SESSIONS = DIALECTS["sessions"]
OPT = {"dialect": SESSIONS.name, "bad_request": 422}
HEADERS = {**sse.HEADERS, "Connection": "keep-alive", "Access-Control-Allow-Origin": "*"}
"""The document's own. Foreign pages are refused at the door all the same."""

ChunkWords = Annotated[
    int | None, QueryParameter(name="chunk_words", description="Words of a token; 0 sends them as they come.")
]
DelayMs = Annotated[int | None, QueryParameter(name="delay_ms", description="Milliseconds between two tokens.")]


class MessageRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message. `chunk_words` and `delay_ms` count more than those of the query, and these more than the settings."""

    content: str = ""
    role: Literal["user"] | None = None
    chunk_words: int | None = None
    delay_ms: int | None = None


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A session to be made. With `agent_id`, all its messages go to that flow."""

    title: str | None = None
    agent_id: str | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, by its client's own name where it has one."""

    id: str
    title: str | None
    created_at: str
    updated_at: str


class SessionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a session."""

    id: str
    session_id: str
    content: str
    role: str
    timestamp: str


class OneSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session, under both names that clients look for it."""

    data: Session
    session: Session
    message: str


class SessionListing(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions, the newest first."""

    data: list[Session]
    sessions: list[Session]
    message: str


class SessionMessages(msgspec.Struct, frozen=True, kw_only=True):
    """A session's messages, the oldest first."""

    data: list[SessionMessage]
    messages: list[SessionMessage]
    message: str


class SessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer as it is stored."""

    data: SessionMessage
    message: str


STREAMED = OPT | {"refuses": (409,)}


@post("/sessions/{session_id:str}/messages/stream", status_code=200, opt=STREAMED, media_type=sse.MEDIA_TYPE)
async def stream_message(  # noqa: PLR0913, PLR0917 - Litestar injects each by its name
    request: Request[Any, Any, Any],
    session_id: FromPath[str],
    data: JSONBody[MessageRequest],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    chunk_words: ChunkWords = None,
    delay_ms: DelayMs = None,
    key: IdempotencyKey = None,
    last_event_id: LastEventId = None,
) -> Response[Any]:
    """Send a message; the response is an SSE stream: `start`, tokens, `end` or `error`."""
    services.limits.check_connections(principal.id)
    if resumed := await services.resumed(request, principal):
        run, cursor = resumed
        await _check_session(services, principal, session_id, run)
    else:
        asked = _read(services, session_id, data, chunk_words, delay_ms)
        run = await services.start_requested(request, asked, principal)
        cursor = start_of(run)
    return event_stream(services, principal, lambda tick: _one_answer(run, cursor, tick), HEADERS)


@post("/sessions/{session_id:str}/messages", status_code=200, opt=OPT | {"refuses": (409, 502)})
async def send_message(
    request: Request[Any, Any, Any],
    session_id: FromPath[str],
    data: JSONBody[MessageRequest],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> SessionAnswer:
    """Send a message and wait for the answer: `{data: message, message}`."""
    asked = _read(services, session_id, data, None, None)
    run = await services.start_requested(request, asked, principal)
    last: dict[str, Any] = {}
    async for frames in _one_answer(run, start_of(run), services.settings.heartbeat_seconds):
        last = frames[-1][1].data if frames else last
    if last.get("type") != "end":
        raise Problem(last.get("code", "UNAVAILABLE"), last.get("error", "The answer goes on elsewhere."), status=502)
    messages = await _messages(services, run.thread_id, session_id, principal)
    answer = next(message for message in messages if message.id == last["messageId"])
    return SessionAnswer(data=answer, message="The message was answered.")


@get("/sessions/{session_id:str}/messages", opt=OPT)
async def list_messages(
    session_id: FromPath[str], services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> SessionMessages:
    """A session's messages, the oldest first: `{data, messages, message}`."""
    thread = await _thread(services, principal, session_id)
    messages = await _messages(services, thread.id, session_id, principal)
    return SessionMessages(data=messages, messages=messages, message="These are the session's messages.")


@post("/sessions", status_code=201, opt=OPT)
async def create_session(
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    data: JSONBody[SessionRequest | None] = None,
) -> OneSession:
    """A new session. A client that sends a message under a name of its own needs none."""
    asked = data or SessionRequest()
    graph = f"flow:{asked.agent_id}" if asked.agent_id else None
    thread = await services.engine.create_thread(principal.id, asked.title, graph=graph)
    return _told(_session(thread, thread.id), "The session was made.")


@get("/sessions", opt=OPT)
async def list_sessions(services: NamedDependency[Services], principal: NamedDependency[Principal]) -> SessionListing:
    """The caller's sessions, the newest first: `{data, sessions, message}`."""
    names = await services.engine.database.fetch(reads.thread_names, principal.id, SESSIONS.name)
    threads = await services.engine.threads(principal.id)
    sessions = [_session(thread, names.get(thread.id, thread.id)) for thread in threads]
    return SessionListing(data=sessions, sessions=sessions, message="These are your sessions.")


@get("/sessions/{session_id:str}", opt=OPT)
async def read_session(
    session_id: FromPath[str], services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> OneSession:
    """One session: `{data, session, message}`."""
    return _told(_session(await _thread(services, principal, session_id), session_id), "This is the session.")


@delete("/sessions/{session_id:str}", status_code=200, opt=OPT | {"refuses": (409,)})
async def delete_session(
    session_id: FromPath[str], services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> OneSession:
    """Stop what a session has under way, and forget it."""
    thread = await _thread(services, principal, session_id)
    await services.engine.delete_thread(thread.id, principal.id)
    return _told(_session(thread, session_id), "The session was deleted.")


def _read(
    services: Services, session_id: str, data: MessageRequest, chunk_words: int | None, delay_ms: int | None
) -> AskedRequest:
    settings = services.settings
    words = _first(data.chunk_words, chunk_words, settings.chunk_words)
    return read_message(session_id, data.content, words, _first(data.delay_ms, delay_ms, settings.chunk_delay_ms))


def _first(*numbers: int | None) -> int:
    return next((number for number in numbers if number is not None), 0)


async def _thread(services: Services, principal: Principal, session_id: str) -> Thread:
    return await services.thread_called(read_session_id(session_id), principal, SESSIONS.name)


async def _check_session(services: Services, principal: Principal, session_id: str, run: Run) -> None:
    """Raise `Problem` CURSOR_GONE where a cursor is of another session's run."""
    if (await _thread(services, principal, session_id)).id != run.thread_id:
        raise Problem("CURSOR_GONE", "This event is not of this session.")


async def _one_answer(run: Run, after: Cursor, tick: float) -> AsyncGenerator[list[tuple[str, Frame]] | None]:
    """A run's frames behind a cursor up to the next end: what follows a question belongs to the next message."""
    async with aclosing(run_frames(run, SESSIONS, after, tick)) as frames:
        async for some in frames:
            end = next((at for at, (_, frame) in enumerate(some or [], 1) if frame.data["type"] in ENDS), None)
            yield some[:end] if some else some
            if end is not None:
                return


async def _messages(services: Services, thread_id: str, session_id: str, principal: Principal) -> list[SessionMessage]:
    """A thread's messages as this vocabulary tells them."""
    stored = await services.engine.messages(thread_id, principal.id)
    return [_message(message, session_id) for message in stored]


def _message(message: Message, session_id: str) -> SessionMessage:
    return SessionMessage(
        id=message.id,
        session_id=session_id,
        content=message.content,
        role=message.role,
        timestamp=iso(message.created_at),
    )


def _session(thread: Thread, session_id: str) -> Session:
    return Session(
        id=session_id,
        title=thread.title,
        created_at=iso(thread.created_at),
        updated_at=iso(thread.updated_at),
    )


def _told(session: Session, message: str) -> OneSession:
    return OneSession(data=session, session=session, message=message)


ROUTES = (
    stream_message,
    send_message,
    list_messages,
    create_session,
    list_sessions,
    read_session,
    delete_session,
)
