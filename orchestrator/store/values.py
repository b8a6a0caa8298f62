"""Converts values to JSON for a graph's store. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec

from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.values import storable

VALUE_DEPTH = 100
"""The deepest nesting of lists and objects."""
PLACE_LENGTH = 200
"""Characters of a value's place that an error shows."""


def as_json(value: Any, place: str, depth: int = 0) -> Any:
    """Return a value as JSON. Raises `StoreRefused` for a value that JSON cannot hold.

    Tuples and sets become lists, keys texts, models and dataclasses objects, times texts, and lone
    surrogates question marks. `place` is the value's place, for the error.
    """
    if depth > VALUE_DEPTH:
        raise StoreRefused(f"{short(place)} is nested more than {VALUE_DEPTH} levels deep.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return storable(str.__str__(value))  # also the text of an enumeration
    if isinstance(value, int | float):
        return int(value) if isinstance(value, int) else float(value)
    if isinstance(value, Mapping):
        return _json_object(value, place, depth)
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [as_json(item, f"{place}[{index}]", depth + 1) for index, item in enumerate(value)]
    return as_json(_simplified(value, place), place, depth + 1)


def _json_object(value: Mapping[Any, Any], place: str, depth: int) -> dict[str, Any]:
    converted = {}
    for key, inner in value.items():
        converted[_key(key, place)] = as_json(inner, f"{place}[{key!r:.50}]", depth + 1)
    return converted


def short(text: str) -> str:
    """Return the beginning of a text, for an error."""
    return text if len(text) <= PLACE_LENGTH else f"{text[:PLACE_LENGTH]}…"


def _key(key: Any, place: str) -> str:
    if isinstance(key, str):
        return storable(str.__str__(key))
    if isinstance(key, int | float) and not isinstance(key, bool):
        return str(key)
    raise StoreRefused(f"{short(place)} has a key of type {type(key).__name__}; keys are texts.")


def _simplified(value: Any, place: str) -> Any:
    """Take one step from an object towards JSON."""
    try:
        if hasattr(value, "model_dump"):
            return value.model_dump(mode="json")
        if hasattr(value, "tolist"):  # numpy's arrays and numbers
            return value.tolist()
        return msgspec.to_builtins(value, str_keys=True)
    except Exception as error:
        kind = type(value).__name__
        raise StoreRefused(f"{short(place)} is of type {kind}, which no store can keep.") from error
