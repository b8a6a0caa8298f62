"""The OpenAPI document: routes and parameters from Litestar, what goes over the wire from structs.

What a handler takes decides how it may refuse; its dialect decides in which words.
`text/event-stream` is a stream of the dialect's frames. A route adds `responses=`, and in its `opt`
`refuses` (statuses that its body leads to), `body` and `query` (classes that it reads by itself).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

import msgspec
from litestar import Litestar, Request, Response
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin, SwaggerRenderPlugin
from litestar.routes import BaseRoute, HTTPRoute, WebSocketRoute
from litestar.serialization import decode_json, encode_json

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from antiphon.api.problems import CODES
from antiphon.api.schemas import Schema, event_schema, payload_type, problem_type, schemas_of

JSON = "application/json"
STREAM = ResponseSpec(
    dict, description="The events of the run, to its end.", media_type=sse.MEDIA_TYPE
)
"""The response of a route that streams only on request."""
ALWAYS = {403, 429, 500, 503}
"""The guard, the limits, and errors of the server."""
REFUSALS: dict[str, set[int]] = {
    "principal": {401},
    "key": {400, 422},
    "last_event_id": {410},
}
"""Statuses by what a handler takes."""
SECURITY: dict[str, Schema] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "token": {
        "type": "apiKey",
        "in": "query",
        "name": "token",
        "description": "The same JWT, for an EventSource.",
    },
}
UNSAID = "Counts if the body leaves it out."
HEADERS: dict[int, Schema] = {
    401: {"WWW-Authenticate": {"schema": {"const": "Bearer"}}},
    429: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}},
    503: {"Retry-After": {"schema": {"type": "integer", "minimum": 1}, "description": "Seconds."}},
}


class Json(JsonRenderPlugin):
    """The document itself."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Schema) -> bytes:
        """As JSON."""
        return super().render(request, _cached(request, openapi_schema))


class Page(SwaggerRenderPlugin):
    """Swagger UI, with the document in it."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: Schema) -> bytes:
        """As HTML."""
        return super().render(request, _cached(request, openapi_schema))


def _cached(request: Request[Any, Any, Any], document: Schema) -> Schema:
    state = request.app.state
    if "openapi" not in state:
        state.openapi = completed(document, request.app.routes, DIALECTS)
    made: Schema = state.openapi
    return made


def document_of(app: Litestar) -> Schema:
    """Return the document of an application that need not run."""
    made: Schema = decode_json(
        encode_json(completed(app.openapi_schema.to_schema(), app.routes, DIALECTS))
    )
    return made


def dialect_of(opt: Mapping[str, Any]) -> str:
    """Return the vocabulary of a handler, by its `opt`."""
    return str(opt.get("dialect", "native"))


def opts_at(routes: Iterable[BaseRoute], path: str) -> list[Mapping[str, Any]]:
    """Return the `opt` of the handlers at a path; literal paths before those with parameters."""
    fitting = [
        route
        for route in routes
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", route.path_format), path)
    ]
    fitting.sort(key=lambda route: route.path_format.count("{"))
    handlers: list[BaseRouteHandler] = []
    for route in fitting:
        handlers += route.route_handlers if isinstance(route, HTTPRoute) else []
        handlers += [route.route_handler] if isinstance(route, WebSocketRoute) else []
    return [handler.opt for handler in handlers]


def completed(
    document: Schema, routes: Iterable[BaseRoute], dialects: Mapping[str, Dialect]
) -> Schema:
    """Return Litestar's document with exact bodies.

    It has every frame of every dialect, and every answer and refusal of every route.
    """
    schemas = _Schemas()
    for dialect in dialects.values():
        for frame in (*dialect.sends, *dialect.asks):
            schemas.of(frame)
    problems = {name: problem_type(dialect) for name, dialect in dialects.items()}
    handlers = {
        (route.path_format, method.lower()): handler
        for route in routes
        if isinstance(route, HTTPRoute)
        for method, (handler, _) in route.route_handler_map.items()
    }
    paths = {
        path: {
            method: _operation(
                operation, _Route(handlers[path, method], path, dialects, problems), schemas
            )
            for method, operation in item.items()
        }
        for path, item in document["paths"].items()
    }
    components = {"schemas": schemas.fill(), "securitySchemes": SECURITY}
    return document | {"paths": paths, "components": components}


class _Schemas:
    """Places for schemas, which are all made at once.

    Only then do types of one name get names of their own.
    """

    def __init__(self) -> None:
        self._places: list[tuple[Schema, Any]] = []

    def of(self, kind: Any) -> Schema:
        """Return a place for a type's schema, empty until `fill`."""
        place: Schema = {}
        self._places.append((place, kind))
        return place

    def fill(self) -> dict[str, Schema]:
        """Fill all places; return the components."""
        schemas, components = schemas_of([kind for _, kind in self._places])
        for (place, _), schema in zip(self._places, schemas, strict=True):
            place.update(schema)
        return components


class _Route:
    """What the document needs to know of a handler."""

    def __init__(
        self,
        handler: HTTPRouteHandler,
        path: str,
        dialects: Mapping[str, Dialect],
        problems: Mapping[str, type[msgspec.Struct]],
    ) -> None:
        signature = handler.parsed_fn_signature
        data = signature.parameters.get("data")
        self.body = data.raw if data is not None else handler.opt.get("body")
        self.handler = handler
        self.takes = signature.parameters
        self.dialect = dialects[dialect_of(handler.opt)]
        self.problem = problems[self.dialect.name]
        self.refusals = set(ALWAYS | set(handler.opt.get("refuses", ())))
        self.refusals.update(*(codes for name, codes in REFUSALS.items() if name in self.takes))
        if self.body is not None:
            self.refusals |= {400, 413}
        if "{" in path:
            self.refusals.add(404)
        if 400 in self.refusals:
            self.refusals = self.refusals - {400} | {self.dialect.bad_request}
        kind = signature.return_type.annotation
        self.gives = (
            (get_args(kind) or (Any,))[0]
            if get_origin(kind) is Response or kind is Response
            else kind
        )


def _operation(operation: Schema, route: _Route, schemas: _Schemas) -> Schema:
    done = {**operation, "responses": _responses(operation["responses"], route, schemas)}
    if route.body is not None:
        body = schemas.of(route.body)
        done["requestBody"] = {"required": True, "content": {JSON: {"schema": body}}}
    if "dialect" in route.handler.opt and (more := list(_parameters(route, schemas))):
        done["parameters"] = [*operation.get("parameters", ()), *more]
    if "dialect" in route.handler.opt:
        done["tags"] = [route.dialect.name]
    if "principal" in route.takes:
        done["security"] = [{name: []} for name in SECURITY]
    return done


def _parameters(route: _Route, schemas: _Schemas) -> Iterator[Schema]:
    """Yield parameters that no handler takes: fields in the query, headers without effect."""
    query = route.handler.opt.get("query")
    if query and route.body is not None:
        for field in msgspec.structs.fields(route.body):
            if field.name in query:
                schema = schemas.of(field.type)
                yield {"name": field.name, "in": "query", "schema": schema, "description": UNSAID}
    for name, about in route.dialect.request_headers.items():
        yield {"name": name, "in": "header", "schema": {"type": "string"}, "description": about}


def _responses(drafted: Schema, route: _Route, schemas: _Schemas) -> Schema:
    status = str(route.handler.status_code)
    responses: Schema = {status: _answer(drafted[status], route, route.gives, schemas)}
    for code, spec in (route.handler.responses or {}).items():
        responses[str(code)] = _answer(drafted[str(code)], route, spec.data_container, schemas)
    for code in sorted(route.refusals - {int(known) for known in responses}):
        content = {JSON: {"schema": schemas.of(route.problem)}}
        responses[str(code)] = {
            "description": _codes(code),
            "content": content,
            "headers": HEADERS.get(code, {}),
        }
    return responses


def _answer(drafted: Schema, route: _Route, kind: Any, schemas: _Schemas) -> Schema:
    """Return Litestar's response with an exact schema for JSON and for streams."""
    content = dict(drafted.get("content", {}))
    if JSON in content:
        content[JSON] = {"schema": schemas.of(kind)}
    if sse.MEDIA_TYPE in content:
        content[sse.MEDIA_TYPE] = {
            "schema": event_schema(route.dialect, schemas.of(payload_type(route.dialect)))
        }
    return (
        {"description": drafted["description"], "content": content}
        if content
        else {"description": drafted["description"]}
    )


def _codes(status: int) -> str:
    """Return the error codes of a status."""
    return ", ".join(f"`{code}`" for code, answer in CODES.items() if answer.status == status)
