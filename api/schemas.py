"""JSON schemas of all that goes over the wire, out of the one registry: the dialects' frames. Pure.

OpenAPI, AsyncAPI and the reference's page of frames are made of these, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import msgspec

from antiphon.api.dialects.base import Dialect, tag
from antiphon.api.problems import Problem

REF = "#/components/schemas/{name}"
Schema = dict[str, Any]
_PROBLEM = Problem("INTERNAL", "Something went wrong on our side.")


def schemas_of(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """Return a schema for each type, and the components that these refer to.

    Tagged unions are `oneOf` by their tag.
    """
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    return _exact(list(schemas)), _exact(components)


def _exact(schema: Any) -> Any:
    """msgspec says `anyOf` of tagged unions as well, of which no two can hold."""
    if isinstance(schema, list):
        return [_exact(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    one_of = "anyOf" in schema and "discriminator" in schema
    return {
        "oneOf" if key == "anyOf" and one_of else key: _exact(value)
        for key, value in schema.items()
    }


def name_of(frame: type[msgspec.Struct]) -> str:
    """Return what a frame is called: its `type`, or its class if it has none."""
    return tag(frame) or frame.__name__


def event_schema(dialect: Dialect, payload: Schema) -> Schema:
    """Return the schema of one SSE event, as OpenAPI 3.2 has it; `payload` is that of its data."""
    json = {"type": "string", "contentMediaType": "application/json", "contentSchema": payload}
    fields: Schema = {
        "id": {"type": "string", "description": "The event's place, for `Last-Event-ID`."},
        "data": {"anyOf": [json, {"enum": list(dialect.raw)}]} if dialect.raw else json,
    }
    about = "One event of the stream. There are no `event:` lines."
    if dialect.fold.names_events:
        about = "One event of the stream, with its type in its `event:` line, too."
        names = [tag(frame) for frame in dialect.frames]
        fields["event"] = {"enum": names, "description": "The data's `type`."}
    return {
        "type": "object",
        "description": about,
        "properties": fields,
        "required": list(fields),
    }


def payload_type(dialect: Dialect) -> Any:
    """Return the type of an SSE event's data."""
    return Union[dialect.frames]  # noqa: UP007


def problem_type(dialect: Dialect) -> type[msgspec.Struct]:
    """Return the type of an HTTP error's body."""
    return type(dialect.problem(_PROBLEM, 0))
