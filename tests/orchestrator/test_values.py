"""Values of users' graphs as plain JSON: whatever they are."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import pathlib
import threading
import uuid
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from pydantic import BaseModel

from antiphon.orchestrator.values import CUT, ITEMS, bounded, plain, storable


class Shape(enum.Enum):
    ROUND = "round"


class Model(BaseModel):
    name: str


@dataclasses.dataclass
class Point:
    x: int


class Hostile:
    def __repr__(self) -> str:
        raise SystemError("no")

    @property
    def model_dump(self) -> Any:
        raise RuntimeError("no")


class Text(str):
    """A text of a library's own, as messages have them."""


class BadMapping(dict):  # type: ignore[type-arg]
    def __getitem__(self, key: Any) -> Any:
        raise KeyError(key)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"a": [1, 2.5, None, True]}, {"a": [1, 2.5, None, True]}),
        ({(1, 2): 3}, {"(1, 2)": 3}),
        (
            {"text": AIMessage("hi").text, "own": Text("x"), "many": [Text("y")]},
            {"text": "hi", "own": "x", "many": ["y"]},
        ),
        ({"lone": "\ud800x", "fine": 1}, {"lone": "?x", "fine": 1}),
        ({"big": 2**70, "lone": "\ud800"}, {"big": str(2**70), "lone": "?"}),
        ({"nan": float("nan"), "lone": "\ud800"}, {"nan": None, "lone": "?"}),
        ({"lock": threading.Lock(), "x": 1}, {"lock": "<lock>", "x": 1}),
        ({"error": ValueError("secret"), "x": 1}, {"error": "<ValueError>", "x": 1}),
        (
            {"m": Model(name="n"), "p": Point(1), "e": Shape.ROUND},
            {"m": {"name": "n"}, "p": {"x": 1}, "e": "round"},
        ),
        (
            {"u": uuid.UUID(int=1), "d": decimal.Decimal("1.5")},
            {"u": str(uuid.UUID(int=1)), "d": "1.5"},
        ),
        (
            {"t": datetime.date(2026, 1, 2), "p": pathlib.Path("x")},
            {"t": "2026-01-02", "p": "<PosixPath>"},
        ),
        ({"message": AIMessage("hi")}, {"message": {"role": "ai", "content": "hi"}}),
        ({"hostile": Hostile(), "x": 1}, {"hostile": "<Hostile>", "x": 1}),
        ({"s": {"only"}, "b": b"ab", "lone": "\ud800"}, {"s": ["only"], "b": "YWI=", "lone": "?"}),
    ],
    ids=lambda value: str(type(value)),
)
def test_only_the_odd_member_is_replaced(value: Any, shown: Any) -> None:
    assert plain(value) == shown
    assert msgspec.json.encode(plain(value))


def test_a_value_inside_itself_is_replaced_where_it_returns() -> None:
    loop: dict[str, Any] = {"x": 1}
    loop["loop"] = [loop]
    assert plain(loop) == {"x": 1, "loop": ["<dict>"]}


def test_depth_and_width_are_bounded() -> None:
    deep: Any = "end"
    for _ in range(10_000):
        deep = [deep]
    assert msgspec.json.encode(plain(deep))
    assert len(plain([{1, "\ud800"}] * (ITEMS + 10))) <= ITEMS


def test_a_mapping_that_raises_is_replaced() -> None:
    assert plain({"bad": BadMapping(a=1), "lone": "\ud800"})["lone"] == "?"


anything: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(alphabet=st.characters()),
        st.binary(),
        st.builds(object),
        st.builds(lambda text: text + "\udc80", st.text()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.one_of(st.text(), st.integers(), st.tuples(st.text())), inner, max_size=4
        ),
        st.builds(tuple, st.lists(inner, max_size=3)),
    ),
    max_leaves=20,
)


@given(anything, st.integers(100, 5_000))
def test_any_value_can_be_stored_and_is_bounded(value: Any, limit: int) -> None:
    msgspec.json.decode(msgspec.json.encode(plain(value)))
    assert len(msgspec.json.encode(bounded(value, limit))) <= 12 * limit + 1_000


def test_a_long_text_is_cut_and_a_large_object_keeps_its_keys() -> None:
    assert bounded("x" * 100, 10) == "x" * 10 + CUT
    found = bounded({"text": "x" * 1_000, "n": 1}, 100)
    assert found == {"text": "x" * 50 + CUT, "n": 1}
    assert bounded([0] * 1_000, 100) == "<list of 2001 bytes>"


def test_a_text_without_surrogates_stays_as_it_is() -> None:
    assert storable("ä🙂") == "ä🙂"
    assert storable("\ud800") == "?"
