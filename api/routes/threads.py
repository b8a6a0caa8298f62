"""Seed 001's routes: conversations and their messages under `/chat/threads`, and the answer as a stream."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, HeaderParameter, JSONBody

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import iso
from antiphon.api.dialects.threads import Threads, ThreadsMessage, ThreadsMetadata
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.native import IdempotencyKey, LastEventId
from antiphon.api.routes.responses import event_stream
from antiphon.api.services import Services, idempotency_key, start_of
from antiphon.api.streams import run_frames
from antiphon.data.records import Message, Thread
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.request import Request as AskedRequest

THREADS = DIALECTS["threads"]
REPEATED = Threads(repeated=True)
OPT = {"dialect": THREADS.name}
DEFAULT_TITLE = "New Chat"
OrganizationId = Annotated[
    str | None,
    HeaderParameter(name="X-Organization-Id", description="Accepted; who may see what, the token alone says."),
]


class NewThread(msgspec.Struct, frozen=True, kw_only=True):
    """A conversation to be created. With `agentId`, all its messages go to that flow."""

    title: str | None = None
    agent_id: str | None = msgspec.field(default=None, name="agentId")


class NewMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message of the user."""

    content: str | None = None


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


class ThreadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, as a text and as a message."""

    response: str
    message: ThreadsMessage


@post("/chat/threads", status_code=201, opt=OPT | {"refuses": (409, 422)})
async def create_thread(
    request: Request[Any, Any, Any],
    data: JSONBody[NewThread],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
    organization: OrganizationId = None,
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
    services: NamedDependency[Services], principal: NamedDependency[Principal], organization: OrganizationId = None
) -> ThreadListing:
    """The caller's conversations, the newest first."""
    return ThreadListing(threads=[_thread(thread) for thread in await services.engine.threads(principal.id)])


@get("/chat/threads/{thread_id:str}/messages", opt=OPT)
async def read_messages(
    thread_id: FromPath[str],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    organization: OrganizationId = None,
) -> MessageListing:
    """A conversation's messages, the oldest first."""
    messages = await services.engine.messages(thread_id, principal.id)
    return MessageListing(messages=[_message(message) for message in messages])


@post("/chat/threads/{thread_id:str}/messages", status_code=200, opt=OPT | {"refuses": (409, 502)})
async def send_message(  # noqa: PLR0913, PLR0917 - Litestar injects each by its name
    request: Request[Any, Any, Any],
    thread_id: FromPath[str],
    data: JSONBody[NewMessage],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
    organization: OrganizationId = None,
) -> ThreadAnswer:
    """Send a message and wait: `{response, message}`, the answer as a text and as a message."""
    await services.engine.thread(thread_id, principal.id)
    run = await _start(request, services, principal, thread_id, data)
    told: dict[str, dict[str, Any]] = {}
    async for frames in run_frames(run, THREADS, start_of(run), services.settings.heartbeat_seconds):
        told |= {frame.data["type"]: frame.data for _, frame in frames or ()}
    if "error" in told:
        raise Problem(told["error"]["data"]["code"], told["error"]["data"]["error"])
    if "done" not in told:
        raise Problem("UNAVAILABLE", "The service is about to stop; the answer goes on elsewhere.")
    said = told["ai_response"]["data"]
    return ThreadAnswer(response=said["accumulated"], message=await _reply(services, run, said.get("interrupt")))


@post(
    ["/chat/threads/{thread_id:str}/messages/stream", "/threads/{thread_id:str}/messages/stream"],
    status_code=200,
    opt=OPT | {"refuses": (409,)},
    media_type=sse.MEDIA_TYPE,
)
async def stream(  # noqa: PLR0913, PLR0917 - Litestar injects each by its name
    request: Request[Any, Any, Any],
    thread_id: FromPath[str],
    data: JSONBody[NewMessage],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
    last_event_id: LastEventId = None,
    organization: OrganizationId = None,
) -> Response[Any]:
    """Send a message; the response is an SSE stream that ends with `done`."""
    services.limits.check_connections(principal.id)
    await services.engine.thread(thread_id, principal.id)
    if resumed := await services.resumed(request, principal):
        run, cursor = resumed
        if run.thread_id != thread_id:
            raise Problem("CURSOR_GONE", "This event is not of this thread.")
        dialect = THREADS  # what follows is what the first stream would have sent
    else:
        run = await _start(request, services, principal, thread_id, data)
        cursor = start_of(run)
        dialect = THREADS if run.created else REPEATED
    return event_stream(services, principal, lambda tick: run_frames(run, dialect, cursor, tick))


async def _start(
    request: Request[Any, Any, Any], services: Services, principal: Principal, thread_id: str, data: NewMessage
) -> Run:
    asked = AskedRequest(dialect=THREADS.name, message=data.content or "", thread_id=thread_id)
    return await services.start_requested(request, asked, principal)


async def _reply(services: Services, run: Run, asked: dict[str, Any] | None) -> ThreadsMessage:
    """What the run has said last, as it is stored: its answer, or the question that it asks first."""
    messages = await services.engine.messages(run.thread_id, run.user_id)
    last = next(one for one in reversed(messages) if one.run_id == run.id and one.role == "assistant")
    message = _message(last)
    if asked is None:
        return message
    return msgspec.structs.replace(message, metadata=msgspec.convert({"interrupt": asked}, ThreadsMetadata))


def _thread(thread: Thread) -> ThreadInfo:
    return ThreadInfo(
        id=thread.id,
        title=thread.title or DEFAULT_TITLE,
        created_at=iso(thread.created_at),
        updated_at=iso(thread.updated_at),
        user_id=thread.user_id,
    )


def _message(message: Message) -> ThreadsMessage:
    metadata = ThreadsMetadata(agent=message.author, partial=message.partial)
    return ThreadsMessage(
        id=message.id,
        thread_id=message.thread_id,
        role=message.role,
        content=message.content,
        created_at=iso(message.created_at),
        metadata=metadata if message.role == "assistant" else None,
    )


ROUTES = (create_thread, list_threads, read_messages, send_message, stream)
