"""`GET /schema/asyncapi.json`: the WebSockets, as OpenAPI shows the rest."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import cleandoc
from typing import Any

from litestar import Request, get
from litestar.routes import BaseRoute, WebSocketRoute

from antiphon.api.asyncapi import Channel, asyncapi
from antiphon.api.dialects import DIALECTS
from antiphon.api.openapi import dialect_of


@get(
    "/schema/asyncapi.json",
    media_type="application/vnd.aai.asyncapi+json",
    include_in_schema=False,
    sync_to_thread=False,
)
def asyncapi_document(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The AsyncAPI document of all WebSockets."""
    return asyncapi(channels(request.app.routes), DIALECTS)


def channels(routes: Iterable[BaseRoute]) -> list[Channel]:
    """Return the WebSockets among an application's routes."""
    return [
        Channel(
            name=route.route_handler.handler_name,
            address=route.path_format,
            dialect=dialect_of(route.route_handler.opt),
            description=cleandoc(route.route_handler.fn.__doc__ or ""),
        )
        for route in routes
        if isinstance(route, WebSocketRoute)
    ]


ROUTES = (asyncapi_document,)
