"""Whether a value fits a JSON Schema, with Pydantic's own check as the oracle."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from antiphon.orchestrator.questions.json_schema import misfit
from tests.orchestrator.support import UNHURRIED


class Colour(Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Part(TypedDict, total=False):
    """Something inside."""

    name: str
    sizes: list[int]


class Whole(BaseModel):
    """Something with everything in it."""

    model_config = ConfigDict(extra="forbid")

    count: Annotated[int, Field(ge=0, lt=4)]
    colour: Colour | None = None
    part: Part | None = None
    more: dict[str, bool] = {}


class Tree(BaseModel):
    """Something that is made of itself."""

    children: list[Tree] = []


class Cat(BaseModel):
    """An alternative."""

    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    """Another one."""

    kind: Literal["dog"]
    name: str


Animal = Annotated[Cat | Dog, Field(discriminator="kind")]
TYPES: list[Any] = [
    bool,
    int,
    str,
    Literal["yes", "no"],
    Annotated[str, Field(min_length=1, max_length=2, pattern="^[a-z]+$")],
    Annotated[list[bool], Field(min_length=1, max_length=2)],
    tuple[int, str],
    int | str | None,
    Whole,
    Part,
    Tree,
    Animal,
    list[Animal],
]
words = st.sampled_from(["", "a", "ab", "abc", "red", "yes", "cat", "dog", "A"])
names = st.sampled_from(
    ["count", "colour", "part", "more", "name", "sizes", "children", "kind", "lives", "x"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 5) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=8,
)


@UNHURRIED
@given(st.sampled_from(TYPES), values)
def test_what_fits_is_what_pydantic_takes(kind: Any, value: Any) -> None:
    adapter = TypeAdapter(kind)
    try:
        adapter.validate_json(TypeAdapter(Any).dump_json(value), strict=True)
        fits = True
    except ValidationError:
        fits = False
    assert (misfit(value, adapter.json_schema()) is None) == fits


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (bool, "yes", "it must be boolean"),
        (Whole, {"count": 9}, "`count` must be below 4"),
        (Whole, {}, "it needs 'count'"),
        (Whole, {"count": 1, "other": 1}, "`other` must be left out"),
        (Whole, {"count": 1, "part": {"sizes": ["x"]}}, "`part` fits none of its alternatives"),
        (Part, {"sizes": [1, "x"]}, "`sizes[1]` must be integer"),
        (Literal["yes", "no"], "maybe", "it must be one of 'yes', 'no'"),
        (Animal, {"kind": "cow"}, "`kind` must be one of cat, dog"),
        (Animal, {"kind": "dog", "name": 1}, "`name` must be string"),
        (list[Animal], [{"kind": "cat"}], "`[0]` needs 'lives'"),
    ],
)
def test_the_message_says_where_and_what(kind: Any, value: Any, message: str) -> None:
    assert misfit(value, TypeAdapter(kind).json_schema()) == message


@pytest.mark.parametrize(
    "schema",
    [
        {},
        True,
        None,
        {"unknown": 1},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "unheard of"},
        {"allOf": [{"$ref": "#"}]},
    ],
)
def test_a_schema_that_says_nothing_allows_everything(schema: Any) -> None:
    assert misfit({"a": [1, None]}, schema) is None


def test_true_is_not_one() -> None:
    assert misfit(True, {"enum": [1]}) == "it must be 1"
    assert misfit(1, {"const": True}) == "it must be True"
    assert misfit(True, {"type": "integer"}) == "it must be integer"
