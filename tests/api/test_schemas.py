"""What the documents are made of."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from antiphon.api.problems import Problem
from antiphon.api.schemas import problem_type, schemas_of
from tests.api.dialects.samples import AT, FIXED, plain, recorded


@pytest.fixture(params=DIALECTS)
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


class _Cat(msgspec.Struct, tag_field="type", tag="cat"):
    lives: int = 9


class _Dog(msgspec.Struct, tag_field="type", tag="dog"):
    pass


def test_a_tagged_union_is_one_of_its_classes() -> None:
    (union, one), components = schemas_of([list[_Cat | _Dog], int | str])
    assert [choice["$ref"] for choice in union["items"]["oneOf"]] == [
        "#/components/schemas/_Cat",
        "#/components/schemas/_Dog",
    ]
    assert union["items"]["discriminator"]["mapping"]["cat"] == "#/components/schemas/_Cat"
    assert "anyOf" in one
    assert components["_Cat"]["properties"]["type"] == {"enum": ["cat"]}


def test_frames_have_names_of_their_own() -> None:
    frames = [frame for dialect in DIALECTS.values() for frame in (*dialect.sends, *dialect.asks)]
    twice = [
        name
        for name, count in Counter(frame.__name__ for frame in set(frames)).items()
        if count > 1
    ]
    assert not twice, "documents name frames by their classes"


def test_a_stream_may_hold_all_that_a_fold_gives(dialect: Dialect) -> None:
    for events in FIXED.values():
        fold = dialect.fold()
        for one in recorded(events):
            for frame in fold.feed(one):
                assert frame.data in dialect.raw or type(frame.data) in dialect.frames
                assert (frame.event is not None) == dialect.fold.names_events


def test_a_stream_holds_no_replies_to_a_sockets_frames(dialect: Dialect) -> None:
    assert not set(dialect.frames) & set(dialect.replies)


def test_the_body_of_an_error_is_declared(dialect: Dialect) -> None:
    kind = problem_type(dialect)
    (_,), components = schemas_of([kind])
    sent = plain(dialect.problem(Problem("BUSY", "Wait."), AT))
    assert set(components[kind.__name__]["required"]) <= set(sent)
