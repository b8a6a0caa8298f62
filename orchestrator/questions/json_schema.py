"""Checks a value against a JSON Schema: the keywords that Pydantic writes, and no others. Pure.

A keyword that is not known here allows everything. So does a reference that leads nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

DEPTH = 200
"""The depth of schemas inside each other that is checked; references may be circular."""
SHOWN = 80
"""Characters of a value that a message shows."""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "integer": lambda value: _is_number(value) and value == int(value),
    "number": _is_number,
    "string": lambda value: isinstance(value, str),
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}


def misfit(value: Any, schema: Any) -> str | None:
    """Return what is wrong with a value, as the end of a sentence about it; None if it fits."""
    return next(_Validation(schema).errors(value, schema, "", 0), None)


class _Validation:
    """One check of a value. `root` is the schema that references refer to."""

    def __init__(self, root: Any) -> None:
        self._root = root

    def errors(self, value: Any, schema: Any, place: str, depth: int) -> Iterator[str]:
        """Yield what is wrong with a value; `place` is its path in the whole: `.name`, `[0]`."""
        if schema is False:
            yield f"{_name(place)} must be left out"
        if not isinstance(schema, Mapping) or depth > DEPTH:
            return
        yield from _own(value, schema, place)
        yield from self._combined(value, schema, place, depth + 1)
        if isinstance(value, dict):
            yield from self._members(value, schema, place, depth + 1)
        if isinstance(value, list):
            yield from self._items(value, schema, place, depth + 1)

    def _combined(
        self, value: Any, schema: Mapping[str, Any], place: str, depth: int
    ) -> Iterator[str]:
        if "$ref" in schema:
            yield from self.errors(value, self._referred(schema["$ref"]), place, depth)
        for part in schema.get("allOf", ()):
            yield from self.errors(value, part, place, depth)
        for keyword in ("anyOf", "oneOf"):
            alternatives = schema.get(keyword, ())
            fitting = 0
            for part in alternatives:
                fitting += next(self.errors(value, part, place, depth), None) is None
            if alternatives and not fitting:
                yield self._closest(value, schema, keyword, place, depth)
            elif keyword == "oneOf" and fitting > 1:
                yield f"{_name(place)} fits several of its alternatives"

    def _closest(
        self, value: Any, schema: Mapping[str, Any], keyword: str, place: str, depth: int
    ) -> str:
        """Return what is wrong with a value that fits no alternative.

        If a discriminator names one alternative, the message is about that one.
        """
        named = schema.get("discriminator")
        if isinstance(named, Mapping) and isinstance(value, dict):
            reference = named.get("mapping", {}).get(str(value.get(named.get("propertyName"))))
            wrong = self.errors(value, self._referred(reference), place, depth)
            if reference and (message := next(wrong, None)):
                return message
            if not reference:
                names = _listed(list(named.get("mapping", {})))
                return f"{_name(place + '.' + str(named.get('propertyName')))} must be {names}"
        if len(schema[keyword]) == 1:
            return next(self.errors(value, schema[keyword][0], place, depth))
        return f"{_name(place)} fits none of its alternatives"

    def _members(
        self, value: dict[str, Any], schema: Mapping[str, Any], place: str, depth: int
    ) -> Iterator[str]:
        properties = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                yield f"{_name(place)} needs {name!r}"
        for name, member in value.items():
            inner = properties.get(name, schema.get("additionalProperties", True))
            yield from self.errors(member, inner, f"{place}.{name}", depth)

    def _items(
        self, value: list[Any], schema: Mapping[str, Any], place: str, depth: int
    ) -> Iterator[str]:
        first = schema.get("prefixItems", [])
        for index, item in enumerate(value):
            inner = first[index] if index < len(first) else schema.get("items", True)
            yield from self.errors(item, inner, f"{place}[{index}]", depth)

    def _referred(self, reference: Any) -> Any:
        """Return the schema that `#/$defs/name` refers to; None if there is none."""
        schema = self._root
        for part in str(reference).removeprefix("#").strip("/").split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            schema = schema.get(key) if isinstance(schema, Mapping) else None
        return schema


def _own(value: Any, schema: Mapping[str, Any], place: str) -> Iterator[str]:
    """Yield what is wrong with a value itself, without its members."""
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_TYPES.get(kind, lambda _: True)(value) for kind in kinds):
        yield f"{_name(place)} must be {_listed(kinds)}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{_name(place)} must be {_shown(schema['const'])}"
    if "enum" in schema and not any(_same(value, choice) for choice in schema["enum"]):
        yield f"{_name(place)} must be {_listed([_shown(choice) for choice in schema['enum']])}"
    for keyword, (is_kind, measure, allows, wording) in _BOUNDS.items():
        if keyword in schema and is_kind(value) and not allows(measure(value), schema[keyword]):
            yield f"{_name(place)} {wording} {schema[keyword]}"


_Bound = tuple[Callable[[Any], bool], Callable[[Any], Any], Callable[[Any, Any], bool], str]
_BOUNDS: dict[str, _Bound] = {
    "minimum": (_is_number, lambda v: v, lambda v, to: v >= to, "must be at least"),
    "maximum": (_is_number, lambda v: v, lambda v, to: v <= to, "must be at most"),
    "exclusiveMinimum": (_is_number, lambda v: v, lambda v, to: v > to, "must be above"),
    "exclusiveMaximum": (_is_number, lambda v: v, lambda v, to: v < to, "must be below"),
    "multipleOf": (_is_number, lambda v: v, lambda v, to: v % to == 0, "must be a multiple of"),
    "minLength": (_TYPES["string"], len, lambda v, to: v >= to, "must have a length of at least"),
    "maxLength": (_TYPES["string"], len, lambda v, to: v <= to, "must have a length of at most"),
    "pattern": (_TYPES["string"], str, lambda v, to: re.search(to, v) is not None, "must match"),
    "minItems": (_TYPES["array"], len, lambda v, to: v >= to, "must have a length of at least"),
    "maxItems": (_TYPES["array"], len, lambda v, to: v <= to, "must have a length of at most"),
}


def _same(value: Any, other: Any) -> bool:
    """Return whether two values are equal in JSON, in which true is not 1."""
    return isinstance(value, bool) == isinstance(other, bool) and value == other


def _name(place: str) -> str:
    return f"`{place.removeprefix('.')}`" if place else "it"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"
