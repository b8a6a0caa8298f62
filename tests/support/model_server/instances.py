"""The smallest value that a JSON schema allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

_MAX_SCHEMA_DEPTH = 12


def minimal_instance(schema: Mapping[str, Any]) -> Any:
    """Return a small JSON value that is valid under a JSON schema.

    Only required properties, the first enum value or alternative, the fewest items, the number
    closest to 0. Follows ``$ref`` inside the document; does not solve ``pattern``, ``not`` and
    ``uniqueItems``.
    """
    return _Instance(schema).of(schema, 0)


_FORMATS = {
    "date-time": "2000-01-01T00:00:00Z",
    "date": "2000-01-01",
    "time": "00:00:00Z",
    "duration": "PT0S",
    "email": "a@example.org",
    "hostname": "example.org",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "uri": "https://example.org/",
}


class _Instance:
    """Builds the minimal instance of schemas that may refer into one root document."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root

    def of(self, schema: Mapping[str, Any] | bool, depth: int) -> Any:
        if isinstance(schema, bool):
            return ""
        if depth > 200:
            raise ValueError("the schema requires an infinite value")
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return schema["enum"][0]
        if "$ref" in schema:
            return self.of(self._resolve(schema["$ref"]), depth + 1)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.of(self._choose(schema[key], depth), depth + 1)
        return self._typed(schema, depth)

    def _resolve(self, reference: str) -> Mapping[str, Any]:
        found: Any = self._root
        for part in reference.removeprefix("#").split("/")[1:]:
            found = found[part.replace("~1", "/").replace("~0", "~")]
        return cast("Mapping[str, Any]", found)

    def _choose(self, options: Sequence[Mapping[str, Any]], depth: int) -> Mapping[str, Any]:
        """Take the first alternative, but null (or the last one) when the schema is recursive."""
        if depth <= _MAX_SCHEMA_DEPTH:
            return options[0]
        return next((option for option in options if option.get("type") == "null"), options[-1])

    def _typed(self, schema: Mapping[str, Any], depth: int) -> Any:
        kind = _type_of(schema)
        if kind == "object" or "allOf" in schema:
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in ("integer", "number"):
            return _minimal_number(schema, kind == "integer")
        if kind == "string":
            return str(_FORMATS.get(schema.get("format", ""), "")).ljust(
                schema.get("minLength", 0), "x"
            )
        return False if kind == "boolean" else None

    def _object(self, schema: Mapping[str, Any], depth: int) -> Any:
        properties, required = schema.get("properties", {}), schema.get("required", ())
        instance = {name: self.of(properties.get(name, True), depth + 1) for name in required}
        for part in schema.get("allOf", ()):
            value = self.of(part, depth + 1)
            if not isinstance(value, dict):
                return value
            instance |= value
        return instance

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        count, given = schema.get("minItems", 0), list(schema.get("prefixItems", ()))
        items = given + [schema.get("items", True)] * (count - len(given))
        return [self.of(item, depth + 1) for item in items[:count]]


def _type_of(schema: Mapping[str, Any]) -> str:
    """Return the (first) type of a schema; guess it from its keywords if it has none."""
    kind = schema.get("type")
    if isinstance(kind, str):
        return kind
    if kind:
        return str(kind[0])
    if "properties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _minimal_number(schema: Mapping[str, Any], whole: bool) -> float:
    """Return 0 or else a number near a bound that keeps all bounds."""
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low))
    up, down = math.ceil(low / step) * step, math.floor(high / step) * step
    candidates = (0, up, up + step, down, down - step, low, (low + high) / 2)
    value = next((found for found in candidates if _within(found, schema)), low)
    return int(value) if whole else value


def _within(value: float, schema: Mapping[str, Any]) -> bool:
    """Say whether a number keeps the bounds of a schema."""
    inside = schema.get("minimum", value) <= value <= schema.get("maximum", value)
    below, above = (
        schema.get("exclusiveMinimum", -math.inf),
        schema.get("exclusiveMaximum", math.inf),
    )
    return bool(inside and below < value < above)
