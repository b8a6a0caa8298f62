"""JSON schemas of all that goes over the wire, out of the one registry: the dialects' frames. Pure.

OpenAPI, AsyncAPI and the reference's page of frames are made of these, so none of them can say something else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Union

import msgspec

from antiphon.api.dialects.base import Dialect, Frame
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import AnyEvent, Recorded, RunComplete, RunStart

REF = "#/components/schemas/{name}"
Schema = dict[str, Any]


def schemas_of(kinds: Sequence[Any]) -> tuple[list[Schema], dict[str, Schema]]:
    """A schema for each type, and the components that these refer to. Tagged unions are `oneOf` by their tag."""
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    return _exact(list(schemas)), _exact(components)


def _exact(schema: Any) -> Any:
    """msgspec says `anyOf` of tagged unions as well, of which no two can hold."""
    if isinstance(schema, list):
        return [_exact(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    one_of = "anyOf" in schema and "discriminator" in schema
    return {"oneOf" if key == "anyOf" and one_of else key: _exact(value) for key, value in schema.items()}


def tag(frame: type[msgspec.Struct]) -> str | None:
    """A frame's `type`; None where it has none."""
    found = frame.__struct_config__.tag
    return None if found is None else str(found)


def name_of(frame: type[msgspec.Struct]) -> str:
    """What a frame is called: its `type`, or its class where it has none."""
    return tag(frame) or frame.__name__


def streamed(dialect: Dialect) -> tuple[type[msgspec.Struct], ...]:
    """The frames that an SSE stream may hold: all but those that answer a WebSocket client's own frames."""
    answers: set[Any] = set()
    if dialect.asks:
        welcome, refusal = dialect.welcome("", _SOMEBODY, True, 0) or {}, dialect.refused(_PROBLEM, 0)
        said = (welcome, refusal, dialect.pong(0), dialect.reset(0, 0, 0))
        answers = {frame.get("type") for frame in said} - {dialect.problem(_PROBLEM, 0).get("type")}
        answers -= {frame.data.get("type") for frame in _smallest(dialect)}
    return tuple(frame for frame in dialect.frames if tag(frame) not in answers)


def names_events(dialect: Dialect) -> bool:
    """Whether an SSE stream of the dialect has `event:` lines: asked of its fold, by the smallest run there is."""
    return any(frame.event is not None for frame in _smallest(dialect))


def _smallest(dialect: Dialect) -> list[Frame]:
    fold = dialect.fold()
    return [frame for recorded in _SMALLEST_RUN for frame in fold.feed(recorded)]


def event_schema(dialect: Dialect, payload: Schema) -> Schema:
    """One event of an SSE stream, `payload` being the schema of its data, as OpenAPI 3.2 would have it."""
    fields: Schema = {
        "id": {"type": "string", "description": "The event's place, for `Last-Event-ID`."},
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": payload},
    }
    told = "One event of the stream. There are no `event:` lines."
    if names_events(dialect):
        told = "One event of the stream, with its type in its `event:` line, too."
        fields["event"] = {"enum": [tag(frame) for frame in streamed(dialect)], "description": "The data's `type`."}
    return {"type": "object", "description": told, "properties": fields, "required": list(fields)}


def payload_type(dialect: Dialect) -> Any:
    """The type of an SSE event's data."""
    return Union[streamed(dialect)]  # noqa: UP007


def problem_type(dialect: Dialect) -> type[msgspec.Struct]:
    """The body of an HTTP error: the dialect's own frame, or a type made after what it says where it is none."""
    body = dialect.problem(_PROBLEM, 0)
    by_tag = {tag(frame): frame for frame in dialect.frames}
    if "type" in body and body["type"] in by_tag:
        return by_tag[body["type"]]
    fields = [(name, Any if value is None else type(value)) for name, value in body.items()]
    name = "".join(word.title() for word in dialect.name.split("_"))
    return msgspec.defstruct(f"{name}Problem", fields, forbid_unknown_fields=True)


_PROBLEM = Problem("INTERNAL", "Something went wrong on our side.")
_SOMEBODY = Principal(id="somebody")
_EVENTS: tuple[AnyEvent, ...] = (
    RunStart(input={"message": "?"}, graph="team", dialect="native", reply_id="m"),
    RunComplete(message_id="m", text="!"),
)
_SMALLEST_RUN = [
    Recorded(thread_id="t", seq=seq, run_id="r", attempt=1, at=0, event=event) for seq, event in enumerate(_EVENTS, 1)
]
