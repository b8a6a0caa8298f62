"""The functions that expressions can call."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, NamedTuple

from antiphon.orchestrator.flows.language.expressions.values import (
    MAX_RESULT,
    as_text,
    bounded,
    comparable,
    contains,
    fits,
    is_number,
    kind_of,
    number,
    string,
)

ANY_NUMBER = 100
"""More arguments than an expression has room for."""

_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:\d{1,30}(?P<fraction>\.\d{0,30})?|\.\d{1,30})(?P<power>[eE][+-]?\d{1,4})?",
    re.A,
)


def _length(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise TypeError(f"{kind_of(value)} has no length")
    return len(value)


def _changed(change: Callable[[str], str]) -> Callable[[Any], str]:
    """Return a function from a text to another one, which may be as long as the first."""

    def changed(text: Any) -> str:
        result = change(string(text))
        if len(result) > max(MAX_RESULT, len(text)):
            raise OverflowError
        return result

    return changed


def _read_number(value: Any) -> int | float | None:
    """Return a number as it is, a text as the number that it spells, all else as None."""
    if not isinstance(value, str):
        return value if is_number(value) else None
    match = _NUMBER.fullmatch(value.strip())
    if match is None:
        return None
    is_float = "." in match[0] or match["power"]
    result = float(match[0]) if is_float else int(match[0])
    return result if fits(result) else None


def _round(value: Any, digits: Any = None) -> Any:
    is_whole = isinstance(digits, int) and not isinstance(digits, bool)
    if digits is not None and not (is_whole and 0 <= digits <= 15):
        raise ValueError("a number is rounded to 0 to 15 digits")
    return bounded(round(number(value), digits))


def _extreme(pick: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """Return a function over its arguments, or over one list; None for an empty list."""

    def extreme(*arguments: Any) -> Any:
        is_list = len(arguments) == 1 and isinstance(arguments[0], list)
        values = arguments[0] if is_list else [*arguments]
        if not comparable(values):
            raise TypeError("only numbers, or only texts, have an order")
        return pick(values) if values else None

    return extreme


def _default(value: Any, instead: Any) -> Any:
    return instead if value is None or value == "" else value


def _join(items: Any, separator: Any = ", ") -> str:
    if not isinstance(items, list):
        raise TypeError(f"a list is needed here, not {kind_of(items)}")
    pieces, length = [], -len(string(separator))
    for item in items:
        pieces.append(as_text(item))
        length += len(pieces[-1]) + len(separator)
        if length > MAX_RESULT:
            raise OverflowError
    return str(separator.join(pieces))


class Function(NamedTuple):
    """A function, and how many arguments it takes at least and at most."""

    call: Callable[..., Any]
    least: int
    most: int


FUNCTIONS: dict[str, Function] = {
    "len": Function(_length, 1, 1),
    "lower": Function(_changed(str.lower), 1, 1),
    "upper": Function(_changed(str.upper), 1, 1),
    "strip": Function(_changed(str.strip), 1, 1),
    "contains": Function(contains, 2, 2),
    "startswith": Function(lambda text, start: string(text).startswith(string(start)), 2, 2),
    "endswith": Function(lambda text, end: string(text).endswith(string(end)), 2, 2),
    "number": Function(_read_number, 1, 1),
    "text": Function(as_text, 1, 1),
    "round": Function(_round, 1, 2),
    "min": Function(_extreme(min), 1, ANY_NUMBER),
    "max": Function(_extreme(max), 1, ANY_NUMBER),
    "abs": Function(lambda value: bounded(abs(number(value))), 1, 1),
    "default": Function(_default, 2, 2),
    "join": Function(_join, 1, 2),
    "words": Function(lambda text: len(string(text).split()), 1, 1),
}
"""Functions by name. `words` counts words; `contains` is `in`; `default` replaces None and the
empty text; `join` puts `", "` between the items."""
