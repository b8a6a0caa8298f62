"""Routes, by vocabulary: they parse, call the engine and write bytes. Nothing here looks at event types."""

from __future__ import annotations

from collections.abc import Sequence

from litestar.types import ControllerRouterHandler

from antiphon.api.routes import access, chat, documents, flows, health, multi_agent, native, profile, sessions, threads

ROUTES: Sequence[ControllerRouterHandler] = (
    *native.ROUTES,
    *multi_agent.ROUTES,
    *chat.ROUTES,
    *flows.ROUTES,
    *threads.ROUTES,
    *sessions.ROUTES,
    *access.ROUTES,
    *profile.ROUTES,
    *health.ROUTES,
    *documents.ROUTES,
)
