"""Routes, by vocabulary: they parse, call the engine and write bytes. Nothing here looks at event types."""

from __future__ import annotations

from collections.abc import Sequence

from litestar.types import ControllerRouterHandler

from api.routes import access, chat, documents, health, multi_agent, native

ROUTES: Sequence[ControllerRouterHandler] = (
    *native.ROUTES,
    *multi_agent.ROUTES,
    *chat.ROUTES,
    *access.ROUTES,
    *health.ROUTES,
    *documents.ROUTES,
)
