"""How values are found: by filters, words and vectors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.data.records import Item
from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.store.search import (
    SEARCHED_ITEMS,
    by_vector,
    by_words,
    check_filter,
    in_namespace,
    matches,
    packed,
    search,
    unit,
)
from tests.orchestrator.support import UNHURRIED


@pytest.mark.parametrize(
    ("value", "wanted", "holds"),
    [
        (3, 3, True),
        (3, 3.0, True),
        (None, None, True),
        ([1, {"a": 2}], [1, {"a": 2}], True),
        ([1, 2], [1], False),
        ("ab", ["a", "b"], False),
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": {"b": 5}}, {"a": {"b": {"$gt": 4}}}, True),
        (7, {"a": 1}, False),
        (7, {"$gt": 5, "$lt": 9}, True),
        (7, {"$gte": 7, "$lte": 7}, True),
        (7, {"$gt": 7}, False),
        ("10", {"$gt": 9}, True),
        ("10", {"$gt": "9"}, True),
        ("2026-02-01", {"$gte": "2026-01-31"}, True),
        ("ada", {"$lt": "bob"}, True),
        ("ada", {"$lt": 7}, False),
        (None, {"$lt": 7}, False),
        ([1], {"$gt": 0}, False),
        (10**400, {"$gt": 0}, False),
        ("nan", {"$lte": 0}, False),
        ("x", {"$eq": "x"}, True),
        ("x", {"$ne": "x"}, False),
        (None, {"$ne": "x"}, True),
        ({"a": 1}, {"$eq": {"a": 1}}, True),
    ],
)
def test_a_filter_wants_equality_or_operators(value: Any, wanted: Any, holds: bool) -> None:
    check_filter(wanted)
    assert matches(value, wanted) is holds


@pytest.mark.parametrize(
    "wanted", [{"$in": [1]}, {"a": {"$or": 1}}, [{"$regex": "x"}], {"$gt": 1, "b": 2}]
)
def test_an_unknown_operator_is_refused(wanted: Any) -> None:
    with pytest.raises(StoreRefused, match="no operator"):
        check_filter(wanted)


@pytest.mark.parametrize(
    ("path", "from_end", "holds"),
    [
        ((), False, True),
        (("a",), False, True),
        (("a", "*"), False, True),
        (("*", "b", "*"), False, True),
        (("b",), False, False),
        (("c",), True, True),
        (("*", "c"), True, True),
        (("a", "c"), True, False),
        (("a", "b", "c", "d"), False, False),
        (("*", "*", "*", "*"), True, False),
    ],
)
def test_a_namespace_is_matched_label_by_label(
    path: tuple[str, ...], from_end: bool, holds: bool
) -> None:
    assert in_namespace(("a", "b", "c"), path, from_end) is holds


def rows(
    *values: Any, vectors: list[list[list[float]]] | None = None
) -> Iterator[tuple[Item, bytes]]:
    for number, value in enumerate(values):
        item = Item(
            namespace=("n",),
            key=str(number),
            value=msgspec.json.encode(value),
            created_at=1,
            updated_at=1,
        )
        yield item, (packed(vectors[number]) or b"") if vectors else b""


def found(
    *values: Any,
    wanted: dict[str, Any] | None = None,
    rank: Any = None,
    offset: int = 0,
    limit: int = 10,
) -> Any:
    return [
        (one.item.key, one.score)
        for one in search(rows(*values), wanted or {}, rank, offset, limit)
    ]


def test_without_a_query_the_order_is_that_of_the_rows() -> None:
    assert [key for key, _ in found(*[{}] * 5, offset=1, limit=2)] == ["1", "2"]
    assert found({"n": 1}, {"n": 2}, {}, wanted={"n": {"$gt": 1}}) == [("1", None)]
    assert found({}, limit=0) == found({}, offset=1) == []


def test_words_rank_what_has_more_of_them_first_and_what_has_none_last() -> None:
    values = [
        {"t": "cars"},
        {"t": "likes tea"},
        {"t": {"deep": ["Likes green TEA."]}},
        {"tea": "no"},
    ]
    assert found(*values, rank=by_words("Does he like green tea?")) == [
        ("2", 1.0),
        ("1", 0.5),
        ("0", None),
        ("3", None),
    ]
    assert by_words(" ?! ") is None


def test_vectors_rank_by_the_nearest_one() -> None:
    east, north = [1.0, 0.0], [0.0, 1.0]
    given = rows({}, {}, {}, {}, vectors=[[north], [], [[-1.0, 0.0], east], [[0.6, 0.8]]])
    ranked = search(given, {}, by_vector(east), 0, 10)
    assert [(one.item.key, one.score) for one in ranked] == [
        ("2", 1.0),
        ("3", pytest.approx(0.6)),
        ("0", pytest.approx(0.0, abs=1e-6)),
        ("1", None),
    ]
    assert by_vector(None) is None


VECTOR = st.lists(
    st.floats(-1e6, 1e6).filter(lambda number: abs(number) > 1e-3), min_size=3, max_size=3
)


@UNHURRIED
@given(VECTOR, VECTOR)
def test_a_score_is_the_cosine(query: list[float], other: list[float]) -> None:
    rank = by_vector(unit(query))
    stored = packed([unit(other) or []])
    assert rank
    assert stored
    cosine = (
        sum(a * b for a, b in zip(query, other, strict=True))
        / math.hypot(*query)
        / math.hypot(*other)
    )
    assert rank({}, stored) == pytest.approx(cosine, abs=1e-5)


def test_a_vector_of_zeros_points_nowhere_and_an_endless_one_is_refused() -> None:
    assert unit([0, 0.0]) is None
    assert packed([]) is None
    with pytest.raises(StoreRefused, match="not finite"):
        unit([math.nan, 1])


def test_vectors_of_another_length_do_not_count() -> None:
    rank = by_vector([1.0, 0.0])
    assert rank
    assert rank({}, packed([[1.0, 0.0, 0.0]]) or b"") is None


def test_a_search_through_too_many_is_refused_but_the_newest_are_always_there() -> None:
    def many() -> Iterator[tuple[Item, bytes]]:
        [one] = rows({"t": "tea"})
        for _ in range(SEARCHED_ITEMS + 1):
            yield one

    assert len(search(many(), {}, None, SEARCHED_ITEMS, 10)) == 1
    assert len(search(many(), {"t": "tea"}, None, 0, 10)) == 10, "it finds enough before"
    for wanted, rank in (({"t": "coffee"}, None), ({}, by_words("tea"))):
        with pytest.raises(StoreRefused, match="longer namespace"):
            search(many(), wanted, rank, 0, 10)
