"""Values are kept as JSON, or refused with their place."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from antiphon.orchestrator.errors import StoreRefused
from antiphon.orchestrator.store.values import as_json
from tests.orchestrator.support import UNHURRIED

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
NUMBER = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBER | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=9,
)


@UNHURRIED
@given(JSON)
def test_what_is_json_stays_as_it_is(value: Any) -> None:
    kept = as_json(value, "value")
    assert kept == value
    assert msgspec.json.decode(msgspec.json.encode(kept)) == value


class Colour(enum.Enum):
    RED = "red"


class Size(enum.IntEnum):
    BIG = 9


class Named(str, enum.Enum):  # noqa: UP042 (as people write it)
    ADA = "ada"


class Person(BaseModel):
    name: str
    born: datetime


@dataclass
class Point:
    x: int


class Array:
    """As numpy's."""

    def tolist(self) -> list[float]:
        return [0.5, 1.5]


BORN = datetime(1815, 12, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ((1, 2), [1, 2]),
        ({3}, [3]),
        ({1: "one", 2.5: "x"}, {"1": "one", "2.5": "x"}),
        (BORN, "1815-12-10T00:00:00Z"),
        (Person(name="Ada", born=BORN), {"name": "Ada", "born": "1815-12-10T00:00:00Z"}),
        ([Point(1)], [{"x": 1}]),
        (b"bytes", "Ynl0ZXM="),
        ([Colour.RED, Size.BIG, Named.ADA], ["red", 9, "ada"]),
        (Array(), [0.5, 1.5]),
        ("half \ud83d emoji", "half ? emoji"),
        ({"\ud83d": 1}, {"?": 1}),
        (math.inf, None),
    ],
)
def test_what_json_has_a_form_for_is_kept_in_that(value: Any, kept: Any) -> None:
    assert msgspec.json.decode(msgspec.json.encode(as_json({"v": value}, "value"))) == {"v": kept}


def test_a_message_is_kept_with_its_fields() -> None:
    kept = as_json({"said": HumanMessage("hi", id="1")}, "value")
    assert (kept["said"]["type"], kept["said"]["content"], kept["said"]["id"]) == (
        "human",
        "hi",
        "1",
    )


def cycle() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["again"] = [value]
    return value


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": [1, {"b": object()}]}, "value['a'][1]['b'] is of type object"),
        ({"a": 1 + 2j}, "value['a'] is of type complex"),
        ({"a": {(1, 2): 3}}, "value['a'] has a key of type tuple"),
        ({"a": {None: 3}}, "value['a'] has a key of type NoneType"),
        ({"a": {True: 3}}, "value['a'] has a key of type bool"),
        ({"a": lambda: 1}, "value['a'] is of type function"),
        ({"a": Person}, "value['a'] is of type ModelMetaclass"),
        (cycle(), "levels deep"),
        ({"k" * 9000: object()}, "which no store can keep"),
    ],
)
def test_what_json_cannot_hold_is_refused_with_its_place_and_type(value: Any, said: str) -> None:
    with pytest.raises(StoreRefused) as refused:
        as_json(value, "value")
    assert said in refused.value.message
    assert len(refused.value.message) < 500
    assert refused.value.code == "STORE_REFUSED"
