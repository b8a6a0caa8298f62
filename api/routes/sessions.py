"""Sessions and their stored messages (seed 004), under `/sessions`."""

from __future__ import annotations

import msgspec
from litestar import delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import iso
from antiphon.api.dialects.sessions import SessionMessage, session_message
from antiphon.api.principal import Principal
from antiphon.api.services import Services
from antiphon.data import reads
from antiphon.data.records import Thread

SESSIONS = DIALECTS["sessions"]
OPT = {"dialect": SESSIONS.name}


class SessionRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A session to be made. With `agent_id`, all its messages go to that flow."""

    title: str | None = None
    agent_id: str | None = None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation, by its client's own name if it has one."""

    id: str
    title: str | None
    created_at: str
    updated_at: str


class OneSession(msgspec.Struct, frozen=True, kw_only=True):
    """A session, under both names by which clients look for it."""

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


@get("/sessions/{session_id:str}/messages", opt=OPT)
async def list_messages(
    session_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> SessionMessages:
    """A session's messages, the oldest first: `{data, messages, message}`."""
    thread = await _thread(services, principal, session_id)
    stored = await services.engine.messages(thread.id, principal.id)
    messages = [session_message(message, session_id) for message in stored]
    return SessionMessages(
        data=messages, messages=messages, message="These are the session's messages."
    )


@post("/sessions", status_code=201, opt=OPT)
async def create_session(
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    data: JSONBody[SessionRequest | None] = None,
) -> OneSession:
    """A new session. A client that sends a message under a name of its own needs none."""
    settings = data or SessionRequest()
    graph = f"flow:{settings.agent_id}" if settings.agent_id else None
    thread = await services.engine.create_thread(principal.id, settings.title, graph=graph)
    return _one(_session(thread, thread.id), "The session was made.")


@get("/sessions", opt=OPT)
async def list_sessions(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> SessionListing:
    """The caller's sessions, the newest first: `{data, sessions, message}`."""
    names = await services.engine.database.fetch(reads.thread_names, principal.id, SESSIONS.name)
    threads = await services.engine.threads(principal.id)
    sessions = [_session(thread, names.get(thread.id, thread.id)) for thread in threads]
    return SessionListing(data=sessions, sessions=sessions, message="These are your sessions.")


@get("/sessions/{session_id:str}", opt=OPT)
async def read_session(
    session_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> OneSession:
    """One session: `{data, session, message}`."""
    return _one(
        _session(await _thread(services, principal, session_id), session_id), "This is the session."
    )


@delete("/sessions/{session_id:str}", status_code=200, opt=OPT | {"refuses": (409,)})
async def delete_session(
    session_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> OneSession:
    """Stop what a session has under way, and forget it."""
    thread = await _thread(services, principal, session_id)
    await services.engine.delete_thread(thread.id, principal.id)
    return _one(_session(thread, session_id), "The session was deleted.")


async def _thread(services: Services, principal: Principal, session_id: str) -> Thread:
    return await services.thread_called(session_id, principal, SESSIONS.name)


def _session(thread: Thread, session_id: str) -> Session:
    return Session(
        id=session_id,
        title=thread.title,
        created_at=iso(thread.created_at),
        updated_at=iso(thread.updated_at),
    )


def _one(session: Session, message: str) -> OneSession:
    return OneSession(data=session, session=session, message=message)


ROUTES = (
    list_messages,
    create_session,
    list_sessions,
    read_session,
    delete_session,
)
