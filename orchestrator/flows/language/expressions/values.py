"""Operations over JSON values: all that expressions can do, within bounds.

An operation raises `TypeError` or `ValueError` with a message for the author of the flow, or
another one of `FAULTS`, which `explain` translates.
"""

from __future__ import annotations

import ast
import json
import math
import operator
from collections.abc import Callable
from typing import Any

MAX_RESULT = 10_000
"""Characters of a text, or items of a list, that an expression makes. Its values may be longer."""
MAX_INTEGER = 2**63
"""Integers that an expression makes are smaller than this, without their sign."""

FAULTS = (TypeError, ValueError, ArithmeticError, RecursionError)
"""What operations may raise."""

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def explain(error: Exception) -> str:
    """Return the message of a fault, for the author of the flow."""
    if isinstance(error, ZeroDivisionError):
        return "this divides by zero"
    if isinstance(error, OverflowError):
        return "the result is too large"
    if isinstance(error, RecursionError):
        return "these values are nested too deep"
    return str(error)


def kind_of(value: Any) -> str:
    """Return what a value is called in messages."""
    kinds = {
        type(None): "None",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a text",
        list: "a list",
        dict: "an object",
    }
    return kinds.get(type(value), "something else")


def is_number(value: Any) -> bool:
    """Return whether a value is a number. Booleans are not."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def number(value: Any) -> Any:
    """Return a number. Raises `TypeError` if the value is none."""
    if not is_number(value):
        raise TypeError(f"a number is needed here, not {kind_of(value)}")
    return value


def string(value: Any) -> str:
    """Return a text. Raises `TypeError` if the value is none."""
    if not isinstance(value, str):
        raise TypeError(f"a text is needed here, not {kind_of(value)}")
    return value


def fits(value: float) -> bool:
    """Return whether a number is within bounds."""
    return abs(value) < MAX_INTEGER if isinstance(value, int) else math.isfinite(value)


def bounded(value: Any) -> Any:
    """Return a number, text or list that was made here. Raises `OverflowError` if too large."""
    is_fit = fits(value) if isinstance(value, int | float) else len(value) <= MAX_RESULT
    if not is_fit:
        raise OverflowError
    return value


def as_text(value: Any, limit: int = MAX_RESULT) -> str:
    """Return a value as text: None as nothing, other values than texts as compact JSON.

    Raises `OverflowError` if it has more than `limit` characters.
    """
    if value is None:
        return ""
    pieces, length = [], 0
    for piece in [value] if isinstance(value, str) else _JSON.iterencode(value):
        length += len(piece)
        if length > limit:
            raise OverflowError
        pieces.append(piece)
    return "".join(pieces)


def comparable(values: list[Any]) -> bool:
    """Return whether values have an order: only numbers, or only texts."""
    return all(map(is_number, values)) or all(isinstance(value, str) for value in values)


def contains(container: Any, item: Any) -> bool:
    """Return whether a text, list or object contains an item."""
    if isinstance(container, str):
        return string(item) in container
    if isinstance(container, dict):
        return _key(item) in container
    if not isinstance(container, list):
        raise TypeError(f"nothing is in {kind_of(container)}")
    return item in container


def item_of(container: Any, key: Any) -> Any:
    """Return the item of a list or an object.

    It is None if it is missing, or if the container or the key itself is None.
    """
    if container is None or key is None:
        return None
    if isinstance(container, dict):
        return container.get(_key(key))
    if not isinstance(container, list):
        raise TypeError(f"{kind_of(container)} has no items")
    if not isinstance(key, int) or isinstance(key, bool):
        raise TypeError(f"the items of a list have whole numbers, not {kind_of(key)}")
    return container[key] if -len(container) <= key < len(container) else None


def _key(key: Any) -> Any:
    if isinstance(key, list | dict):
        raise TypeError(f"{kind_of(key)} is no key")
    return key


def negate(value: Any) -> Any:
    """Return a number with the other sign."""
    return bounded(-number(value))


def _add(left: Any, right: Any) -> Any:
    if is_number(left) and is_number(right):
        return bounded(left + right)
    if not any(isinstance(left, kind) and isinstance(right, kind) for kind in (str, list)):
        kinds = f"{kind_of(left)} and {kind_of(right)}"
        raise TypeError(f"+ does not join {kinds}; text() makes a text of a value")
    if len(left) + len(right) > MAX_RESULT:
        raise OverflowError
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(right, str | list):
        left, right = right, left
    if not isinstance(left, str | list):
        return bounded(number(left) * number(right))
    if not isinstance(right, int) or isinstance(right, bool):
        message = f"{kind_of(left)} is repeated by a whole number, not by {kind_of(right)}"
        raise TypeError(message)
    if _weight(left) * right > MAX_RESULT:  # a list of long lists, repeated, would be a bomb
        raise OverflowError
    return left * right


def _weight(value: Any) -> int:
    """Return the characters and items in a value, at any depth; stop counting at the limit."""
    weight = 0
    waiting = [value]
    while waiting and weight <= MAX_RESULT:
        part = waiting.pop()
        if isinstance(part, str | list | dict):
            weight += len(part)
        if weight > MAX_RESULT:
            break
        if isinstance(part, list):
            waiting += part
        elif isinstance(part, dict):
            waiting += [*part, *part.values()]
    return weight


def _on_numbers(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda left, right: bounded(operation(number(left), number(right)))


def _ordered(operation: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if not comparable([left, right]):
            raise TypeError(f"{kind_of(left)} and {kind_of(right)} have no order")
        return operation(left, right)

    return compare


ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: _add,
    ast.Sub: _on_numbers(operator.sub),
    ast.Mult: _multiply,
    ast.Div: _on_numbers(operator.truediv),
    ast.FloorDiv: _on_numbers(operator.floordiv),
    ast.Mod: _on_numbers(operator.mod),
}
COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: lambda item, container: contains(container, item),
    ast.NotIn: lambda item, container: not contains(container, item),
}
