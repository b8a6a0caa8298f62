"""Finds values in a graph's store by filters, words and vectors. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import nlargest
from itertools import islice
from math import dist, inf, isfinite, sqrt
from struct import iter_unpack
from typing import Any, NamedTuple

import msgspec

from antiphon.data.records import Item, Namespace
from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.store.values import short
from antiphon.rag.words import stems

SEARCHED_ITEMS = 50_000
"""Items that one search with a filter or a query may read."""

Rows = Iterator[tuple[Item, bytes]]
"""Items with their vectors, the last written first."""
Rank = Callable[[Any, bytes], float | None]
"""Returns the score of a value and its vectors, higher is better; None if there is no score."""


class Match(NamedTuple):
    """An item that a search has found, its value and its score."""

    item: Item
    value: dict[str, Any]
    score: float | None


def matches(value: Any, wanted: Any) -> bool:
    """Return whether a value is equal to what a filter wants, or satisfies all its operators."""
    if isinstance(wanted, dict):
        if is_condition(wanted):
            return all(OPERATORS[name](value, other) for name, other in wanted.items())
        return isinstance(value, dict) and has_fields(value, wanted)
    if isinstance(wanted, list):
        same_length = isinstance(value, list) and len(value) == len(wanted)
        return same_length and all(map(matches, value, wanted))
    return bool(value == wanted)


def has_fields(value: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Return whether all fields that a filter names match. A missing field counts as None."""
    return all(matches(value.get(key), condition) for key, condition in wanted.items())


def is_condition(wanted: dict[str, Any]) -> bool:
    """Return whether a part of a filter is made of operators."""
    return any(key.startswith("$") for key in wanted)


def check_filter(wanted: Any) -> None:
    """Raise `StoreRefused` for an unknown operator."""
    if isinstance(wanted, dict) and is_condition(wanted):
        if unknown := [name for name in wanted if name not in OPERATORS]:
            names = ", ".join(OPERATORS)
            raise StoreRefused(f"A filter has no operator {short(unknown[0])!r}; it has {names}.")
    elif isinstance(wanted, dict | list):
        for part in wanted.values() if isinstance(wanted, dict) else wanted:
            check_filter(part)


def _compared(decide: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, other: Any) -> bool:
        pair = _numbers(value, other)
        if pair is None and isinstance(value, str) and isinstance(other, str):
            return decide((value > other) - (value < other))
        if pair is None or pair[0] != pair[0] or pair[1] != pair[1]:  # NaN is not comparable
            return False
        return decide((pair[0] > pair[1]) - (pair[0] < pair[1]))

    return compare


def _numbers(*values: Any) -> list[float] | None:
    """Return values as numbers, parsing texts; None if one of them is not a number."""
    try:
        return [float(value) for value in values]
    except (TypeError, ValueError, OverflowError):
        return None


OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "$eq": lambda value, other: bool(value == other),
    "$ne": lambda value, other: bool(value != other),
    "$gt": _compared(lambda order: order > 0),
    "$gte": _compared(lambda order: order >= 0),
    "$lt": _compared(lambda order: order < 0),
    "$lte": _compared(lambda order: order <= 0),
}
"""Numbers, and texts of numbers, compare as numbers; other texts by their characters."""


def in_namespace(namespace: Namespace, path: Sequence[str], from_end: bool) -> bool:
    """Return whether a namespace begins or ends with a path. `*` in a path is any label."""
    if len(namespace) < len(path):
        return False
    labels = namespace[len(namespace) - len(path) :] if from_end else namespace
    return all(wanted in ("*", label) for wanted, label in zip(path, labels, strict=False))


def search(
    rows: Rows,
    wanted: dict[str, Any],
    rank: Rank | None,
    offset: int,
    limit: int,
) -> list[Match]:
    """Return the items that match, the best first, then those without a score in their order.

    Raises `StoreRefused` if it would read more than `SEARCHED_ITEMS`.
    """
    matching = _matching(rows, wanted, rank)
    if rank is None:
        return list(islice(matching, offset, offset + limit))
    return nlargest(offset + limit, matching, key=_score)[offset:]


def _score(match: Match) -> float:
    return -inf if match.score is None else match.score


def _matching(rows: Rows, wanted: dict[str, Any], rank: Rank | None) -> Iterator[Match]:
    for number, (item, vectors) in enumerate(rows):
        if number >= SEARCHED_ITEMS and (wanted or rank):
            limit = f"A search may go through {SEARCHED_ITEMS} items"
            raise StoreRefused(f"{limit}: name a longer namespace.")
        value = msgspec.json.decode(item.value)
        if has_fields(value, wanted):
            yield Match(item, value, rank(value, vectors) if rank else None)


def by_words(query: str) -> Rank | None:
    """Rank by the share of the query's words in a value. Returns None if the query has no words."""
    wanted = set(stems(query))

    def rank(value: Any, vectors: bytes) -> float | None:
        shared = wanted.intersection(stems(" ".join(_texts(value))))
        return len(shared) / len(wanted) or None

    return rank if wanted else None


def _texts(value: Any) -> Iterator[str]:
    """Yield all texts in a value, without the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def by_vector(query: Sequence[float] | None) -> Rank | None:
    """Rank by the cosine of the nearest of a value's vectors. Returns None for a zero query.

    Vectors have the length 1, so the cosine follows from the distance; `dist` is written in C.
    """
    if query is None:
        return None
    layout = f"{len(query)}f"

    def rank(value: Any, vectors: bytes) -> float | None:
        if not vectors or len(vectors) % (4 * len(query)):
            return None
        return 1 - min(dist(query, vector) for vector in iter_unpack(layout, vectors)) ** 2 / 2

    return rank


def unit(vector: Iterable[Any]) -> list[float] | None:
    """Scale a vector to the length 1; None for zeros. Raises `StoreRefused` if it is not finite."""
    numbers = [float(number) for number in vector]
    length = sqrt(sum(number * number for number in numbers))
    if not isfinite(length):
        raise StoreRefused("The embedder gave a vector that is not finite.")
    return [number / length for number in numbers] if length else None


def packed(vectors: Iterable[Sequence[float]]) -> bytes | None:
    """Return vectors as they are stored: 32-bit floats in native order. None if there are none."""
    return b"".join(array("f", vector).tobytes() for vector in vectors) or None
