"""Turns values of users' graphs into plain, bounded JSON for the log. Never fails."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import msgspec

DEPTH = 50
"""The depth of containers inside each other; deeper ones are replaced."""
ITEMS = 100_000
"""Members of one value that are kept; those beyond are left out."""
VALUE_LIMIT = 64 * 1024
"""Bytes of one value in an event; what is larger is cut or replaced by a note."""
CUT = "… [cut]"


def storable(text: str) -> str:
    """Return a text without lone surrogates, which cannot be stored."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def plain(value: Any) -> Any:
    """Return a value in plain JSON types; the name of its type replaces what has no such form."""
    try:
        built = msgspec.to_builtins(value, enc_hook=_described, str_keys=True)
        msgspec.json.encode(built)
    except Exception:
        # keys that are not text, text that is not Unicode, cycles, properties that raise
        return _Conversion().plain(value, 0)
    return built


def bounded(value: Any, limit: int = VALUE_LIMIT) -> Any:
    """Return a value as plain JSON of at most about `limit` bytes.

    Texts that are too long are cut, other values are replaced by a note of their size.
    """
    if isinstance(value, str):
        text = storable(value[:limit])
        return text if len(value) <= limit else text + CUT
    shown = plain(value)
    size = len(msgspec.json.encode(shown))
    if size <= limit:
        return shown
    if isinstance(shown, dict) and len(shown) <= 100:
        share = limit // (len(shown) or 1)
        return {key[:200]: bounded(member, share) for key, member in shown.items()}
    if isinstance(shown, str):
        return bounded(shown, limit)
    return f"<{type(value).__name__} of {size} bytes>"


class _Conversion:
    """Converts a value member by member, after the fast way failed; replaces only what is odd."""

    def __init__(self) -> None:
        self._room = ITEMS
        self._inside: set[int] = set()

    def plain(self, value: Any, depth: int) -> Any:
        self._room -= 1
        match value:
            case None | bool():
                return value
            case str():
                return storable(str(value))
            case int():
                return int(value) if -(2**63) <= value < 2**63 else str(value)
            case float():
                return float(value) if math.isfinite(value) else None
        if depth >= DEPTH or self._room <= 0 or id(value) in self._inside:
            return _named(value)
        self._inside.add(id(value))
        try:
            return self._container(value, depth + 1)
        except Exception:  # the user's own classes may raise anything
            return _named(value)
        finally:
            self._inside.discard(id(value))

    def _container(self, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping):
            return {self._key(key): self.plain(value[key], depth) for key in self._first(value)}
        if isinstance(value, Sequence | Set) and not isinstance(
            value, bytes | bytearray | memoryview
        ):
            return [self.plain(member, depth) for member in self._first(value)]
        try:
            return msgspec.to_builtins(value, enc_hook=_refuse)
        except (TypeError, ValueError, RecursionError):
            described = _described(value)
            return described if isinstance(described, str) else self.plain(described, depth)

    def _first(self, members: Iterable[Any]) -> list[Any]:
        return list(itertools.islice(members, max(self._room, 0)))

    def _key(self, key: Any) -> str:
        if isinstance(key, str):
            return storable(str(key))
        try:
            return storable(str(key))[:200]
        except Exception:
            return _named(key)


def _refuse(value: Any) -> Any:
    raise TypeError


def _described(value: Any) -> Any:
    """Return what represents an object in JSON.

    Subclasses of plain types become the plain type. Exceptions become their name, since their text
    may hold what is not for readers.
    """
    plain_types: tuple[type[Any], ...] = (str, int, float, dict, list)
    for base in plain_types:
        if isinstance(value, base):
            return base(value)
    if hasattr(value, "content") and isinstance(getattr(value, "type", None), str):  # a message
        return {"role": value.type, "content": str(getattr(value, "text", value.content))}
    if isinstance(value, BaseException):
        return _named(value)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        return value.tolist()
    return _named(value)


def _named(value: Any) -> str:
    return f"<{type(value).__name__}>"
