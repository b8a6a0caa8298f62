"""Conversations of the threads vocabulary (seed 001), under `/chat/threads`."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import iso
from antiphon.api.dialects.thread_frames import ThreadsMessage
from antiphon.api.dialects.threads import stored_message
from antiphon.api.principal import Principal
from antiphon.api.routes.headers import IdempotencyKey
from antiphon.api.services import Services, idempotency_key
from antiphon.data.records import Thread

OPT = {"dialect": DIALECTS["threads"].name}
DEFAULT_TITLE = "New Chat"


class NewThread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to be created. With `agentId`, all its messages go to that flow."""

    title: str | None = None
    agent_id: str | None = msgspec.field(default=None, name="agentId")


class ThreadInfo(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A conversation."""

    id: str
    title: str
    created_at: str
    updated_at: str
    user_id: str


class OneThread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation."""

    thread: ThreadInfo


class ThreadListing(msgspec.Struct, frozen=True, kw_only=True):
    """Conversations, the newest first."""

    threads: list[ThreadInfo]


class MessageListing(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation's messages, the oldest first."""

    messages: list[ThreadsMessage]


@post("/chat/threads", status_code=201, opt=OPT | {"refuses": (409, 422)})
async def create_thread(
    request: Request[Any, Any, Any],
    data: JSONBody[NewThread],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> OneThread:
    """Create a conversation: `{thread: {id, title, createdAt, updatedAt, userId}}`."""
    thread = await services.engine.create_thread(
        principal.id,
        data.title,
        graph=f"flow:{data.agent_id}" if data.agent_id else None,
        idempotency_key=idempotency_key(request),
    )
    return OneThread(thread=_thread(thread))


@get("/chat/threads", opt=OPT)
async def list_threads(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> ThreadListing:
    """The caller's conversations, the newest first."""
    return ThreadListing(
        threads=[_thread(thread) for thread in await services.engine.threads(principal.id)]
    )


@get("/chat/threads/{thread_id:str}/messages", opt=OPT)
async def read_messages(
    thread_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
) -> MessageListing:
    """A conversation's messages, the oldest first."""
    messages = await services.engine.messages(thread_id, principal.id)
    return MessageListing(messages=[stored_message(message) for message in messages])


def _thread(thread: Thread) -> ThreadInfo:
    return ThreadInfo(
        id=thread.id,
        title=thread.title or DEFAULT_TITLE,
        created_at=iso(thread.created_at),
        updated_at=iso(thread.updated_at),
        user_id=thread.user_id,
    )


ROUTES = (create_thread, list_threads, read_messages)
