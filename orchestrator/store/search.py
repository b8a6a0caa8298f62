"""How values are found in a graph's store: by filters, words and vectors. Pure."""

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
"""Items that one search with a filter or a query may go through."""

Rows = Iterator[tuple[Item, bytes]]
"""Items with their vectors, the last written first."""
Rank = Callable[[Any, bytes], float | None]
"""The score of a value with its vectors: more is better, None for what does not compare."""


class Found(NamedTuple):
    """An item that a search has found, its value, and its score."""

    item: Item
    value: dict[str, Any]
    score: float | None


def matches(value: Any, wanted: Any) -> bool:
    """Whether a value is as a filter wants it: an equal one, or one that all operators hold of."""
    if isinstance(wanted, dict):
        if is_condition(wanted):
            return all(OPERATORS[name](value, other) for name, other in wanted.items())
        return isinstance(value, dict) and has_fields(value, wanted)
    if isinstance(wanted, list):
        same_length = isinstance(value, list) and len(value) == len(wanted)
        return same_length and all(map(matches, value, wanted))
    return bool(value == wanted)


def has_fields(value: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether all fields that a filter names are as it wants them; a missing one is None."""
    return all(matches(value.get(key), condition) for key, condition in wanted.items())


def is_condition(wanted: dict[str, Any]) -> bool:
    """Whether a part of a filter is made of operators."""
    return any(key.startswith("$") for key in wanted)


def check_filter(wanted: Any) -> None:
    """Raise `StoreRefused` for an operator that there is not."""
    if isinstance(wanted, dict) and is_condition(wanted):
        if unknown := [name for name in wanted if name not in OPERATORS]:
            known = ", ".join(OPERATORS)
            raise StoreRefused(f"A filter has no operator {short(unknown[0])!r}; it has {known}.")
    elif isinstance(wanted, dict | list):
        for one in wanted.values() if isinstance(wanted, dict) else wanted:
            check_filter(one)


def _compared(decide: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    def compare(value: Any, other: Any) -> bool:
        pair = _numbers(value, other)
        if pair is None and isinstance(value, str) and isinstance(other, str):
            return decide((value > other) - (value < other))
        if pair is None or pair[0] != pair[0] or pair[1] != pair[1]:  # NaN is neither more nor less
            return False
        return decide((pair[0] > pair[1]) - (pair[0] < pair[1]))

    return compare


def _numbers(*values: Any) -> list[float] | None:
    """Values as numbers, texts of numbers too; None where one is none."""
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
"""Numbers compare as numbers, also if they are texts; other texts by their characters."""


def in_namespace(namespace: Namespace, path: Sequence[str], from_end: bool) -> bool:
    """Whether a namespace begins, or ends, with a path, in which `*` is any label."""
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
) -> list[Found]:
    """Return the items that match: the best first, then those without a score, in their order.

    Raises `StoreRefused` if it would have to go through more than `SEARCHED_ITEMS`.
    """
    found = _found(rows, wanted, rank)
    if rank is None:
        return list(islice(found, offset, offset + limit))
    return nlargest(offset + limit, found, key=_score)[offset:]


def _score(found: Found) -> float:
    return -inf if found.score is None else found.score


def _found(rows: Rows, wanted: dict[str, Any], rank: Rank | None) -> Iterator[Found]:
    for number, (item, vectors) in enumerate(rows):
        if number >= SEARCHED_ITEMS and (wanted or rank):
            limit = f"A search may go through {SEARCHED_ITEMS} items"
            raise StoreRefused(f"{limit}: name a longer namespace.")
        value = msgspec.json.decode(item.value)
        if has_fields(value, wanted):
            yield Found(item, value, rank(value, vectors) if rank else None)


def by_words(query: str) -> Rank | None:
    """Rank by the share of the query's words that a value has; None for a query without words."""
    wanted = set(stems(query))

    def rank(value: Any, vectors: bytes) -> float | None:
        shared = wanted.intersection(stems(" ".join(_texts(value))))
        return len(shared) / len(wanted) or None

    return rank if wanted else None


def _texts(value: Any) -> Iterator[str]:
    """All texts in a value, without the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)


def by_vector(query: Sequence[float] | None) -> Rank | None:
    """Rank by the cosine of the nearest of a value's vectors; None for a query that points nowhere.

    Vectors have the length 1, so their distance gives their angle; `dist` is written in C.
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
    """A vector with the length 1; None for zeros. Raises `StoreRefused` if it is not finite."""
    numbers = [float(number) for number in vector]
    length = sqrt(sum(number * number for number in numbers))
    if not isfinite(length):
        raise StoreRefused("The embedder gave a vector that is not finite.")
    return [number / length for number in numbers] if length else None


def packed(vectors: Iterable[Sequence[float]]) -> bytes | None:
    """Vectors as they are stored, as 32-bit floats one after the other; None for none."""
    return b"".join(array("f", vector).tobytes() for vector in vectors) or None
