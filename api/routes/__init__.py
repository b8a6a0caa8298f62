"""The routes: doors that dialects list, and resources that are written by hand.

They parse, call the engine and write bytes; nothing here looks at events or at the types of frames.
"""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from antiphon.api.dialects import DIALECTS
from antiphon.api.routes import (
    access,
    chat,
    documents,
    doors,
    flows,
    health,
    native,
    profile,
    sessions,
    threads,
)

RESOURCES = (access, chat, documents, flows, health, native, profile, sessions, threads)


def routes() -> list[ControllerRouterHandler]:
    """Return the handlers of all routes."""
    rows = [(dialect, door) for dialect in DIALECTS.values() for door in dialect.doors]
    resources = [handler for room in RESOURCES for handler in room.ROUTES]
    return [*(doors.handler(dialect, door) for dialect, door in rows), *resources]
