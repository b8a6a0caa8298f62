"""Writes docs/frames.md: every frame of every vocabulary, and which event gives which frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from inspect import cleandoc
from typing import Any

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect, tag
from antiphon.api.schemas import Schema, name_of, schemas_of
from antiphon.orchestrator.events import EVENT_TYPES
from tests.api.dialects.samples import FIXED, recorded

HEAD = """# Frames

Made from the code by `UPDATE_GOLDEN=1 python -m pytest tests/test_docs.py`; a test fails where it
is stale. The same in JSON: `/schema/openapi.json` and `/schema/asyncapi.json` of a running server.

## Which event gives which frames

As it comes out of fixed sample runs; `–` where a vocabulary is silent, or keeps what it was told
for a later frame.
"""


def page() -> str:
    """The whole page."""
    every = [frame for dialect in DIALECTS.values() for frame in (*dialect.sends, *dialect.asks)]
    _, schemas = schemas_of(every)
    dialects = [line for dialect in DIALECTS.values() for line in _dialect(dialect, schemas)]
    parts = {
        name: schemas[name] for name in sorted(set(schemas) - {frame.__name__ for frame in every})
    }
    return "\n".join([HEAD, *_matrix(), "", *dialects, *_parts(parts)]).rstrip("\n") + "\n"


def _matrix() -> Iterator[str]:
    yield f"| event | {' | '.join(DIALECTS)} |"
    yield "|---" * (len(DIALECTS) + 1) + "|"
    given = {name: _given(dialect) for name, dialect in DIALECTS.items()}
    for event in EVENT_TYPES:
        tag = str(event.__struct_config__.tag)
        cells = (
            ", ".join(f"`{one}`" for one in given[name].get(tag, ())) or "–" for name in DIALECTS
        )
        yield f"| `{tag}` | {' | '.join(cells)} |"


def _given(dialect: Dialect) -> dict[str, list[str]]:
    """By event, the types of its frames in all sample runs."""
    found: dict[str, list[str]] = {}
    for events in FIXED.values():
        fold = dialect.fold()
        for one in recorded(events):
            found.setdefault(one.event.type, []).extend(
                tag(type(frame.data)) or "" for frame in fold.feed(one)
            )
    return {event: list(dict.fromkeys(types)) for event, types in found.items()}


def _dialect(dialect: Dialect, schemas: dict[str, Schema]) -> Iterator[str]:
    yield f"## {dialect.name}"
    yield ""
    if text := cleandoc(type(dialect).__doc__ or ""):
        yield text
        yield ""
    for title, frames in (
        ("the server sends", dialect.sends),
        ("the client sends, on a WebSocket", dialect.asks),
    ):
        if frames:
            yield f"### {dialect.name}: {title}"
            yield ""
        for frame in frames:
            yield f"#### `{name_of(frame)}`"
            yield ""
            yield from _fields(schemas[frame.__name__])


def _parts(parts: dict[str, Schema]) -> Iterator[str]:
    yield "## Parts of frames"
    yield ""
    for name, schema in parts.items():
        yield f"### {name}"
        yield ""
        yield from _fields(schema)


def _fields(schema: Schema) -> Iterator[str]:
    yield cleandoc(schema.get("description", ""))
    yield ""
    fields = dict(schema.get("properties", {}))
    if len(fields.get("type", {}).get("enum", ())) == 1:
        del fields["type"]  # the heading says it
    if fields:
        yield "| field | type | |"
        yield "|---|---|---|"
        for name, field in fields.items():
            yield f"| `{name}` | {_type(field)} | {_need(name, field, schema['required'])} |"
        yield ""


def _need(name: str, field: Schema, required: Sequence[str]) -> str:
    if name in required:
        return "required"
    return (
        f"default `{json.dumps(field['default'], ensure_ascii=False)}`"
        if "default" in field
        else "may be missing"
    )


def _type(schema: Any) -> str:
    """A JSON schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{json.dumps(one)}`" for one in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " or ".join(_type(one) for one in schema[choice])
    match schema.get("type"):
        case "array":
            return f"list of {_type(schema['items'])}" if schema.get("items") else "list"
        case "object":
            values = schema.get("additionalProperties")
            return f"object of {_type(values)}" if isinstance(values, dict) and values else "object"
        case None:
            return "anything"
        case kind:
            return str(kind)
