"""Seed 003's routes: `WS /ws/chat`, its test page, and `POST /api/v1/chat`, which waits for the whole answer."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, WebSocket, get, post, websocket
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import JSONBody

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Name, Text, needs
from antiphon.api.dialects.chat import ChatError, ChatMetadata, read_message
from antiphon.api.principal import Principal
from antiphon.api.routes.native import IdempotencyKey
from antiphon.api.routes.socket import converse
from antiphon.api.services import Services, start_of
from antiphon.api.streams import run_frames

CHAT = DIALECTS["chat"]
OPT = {"dialect": CHAT.name}
PAGE = Path(__file__).parents[1] / "pages" / "chat_test.html"


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A message. `session_id` is the client's own name for the conversation."""

    message: Text | None = None
    session_id: Name | None = None
    customer_id: Name | None = None


class ChatResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The whole answer, or a question."""

    response: str
    session_id: str | None
    metadata: ChatMetadata


ANSWERS = {
    200: ResponseSpec(ChatResponse, description="The answer."),
    502: ResponseSpec(ChatError, description="The run failed."),
}


@post("/api/v1/chat", status_code=200, responses=ANSWERS, opt=OPT)
async def chat(
    request: Request[Any, Any, Any],
    data: JSONBody[Annotated[ChatRequest, needs("message")]],
    services: NamedDependency[Services],
    principal: NamedDependency[Principal],
    key: IdempotencyKey = None,
) -> Response[Any]:
    """Ask and wait: `{response, session_id, metadata, run_id}`."""
    asked = read_message(msgspec.to_builtins(data))
    run = await services.start_requested(request, asked, principal)
    last: dict[str, Any] = {}
    async for frames in run_frames(run, CHAT, start_of(run), services.settings.heartbeat_seconds):
        last = frames[-1][1].data if frames else last
    if last.get("type") != "complete":
        return Response(last, status_code=502)
    return Response({name: last[name] for name in ("response", "session_id", "metadata", "run_id")}, status_code=200)


@websocket("/ws/chat", opt=OPT)
async def chat_socket(socket: WebSocket[Any, Any, Any], services: NamedDependency[Services]) -> None:
    """The chat vocabulary over WebSocket."""
    await converse(socket, CHAT, services)


@get("/ws/test", sync_to_thread=False, include_in_schema=False)
def test_page() -> Response[str]:
    """A page to try the WebSocket with."""
    html = PAGE.read_text(encoding="utf-8")
    return Response(html, media_type="text/html", headers=page_headers(html))


def page_headers(html: str) -> dict[str, str]:
    """Headers for a page of ours: only its own inline script and style may run, and it may speak to this host only."""
    script, style = (_hash(html, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self' ws: wss:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _hash(html: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digest = hashlib.sha256((found[1] if found else "").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


ROUTES = (chat, chat_socket, test_page)
