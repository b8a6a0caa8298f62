"""What the documents are made of."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from antiphon.api.schemas import names_events, problem_type, schemas_of, streamed, tag
from tests.api.dialects.samples import FIXED, recorded


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
    frames = [frame for dialect in DIALECTS.values() for frame in (*dialect.frames, *dialect.asks)]
    twice = [name for name, count in Counter(frame.__name__ for frame in set(frames)).items() if count > 1]
    assert not twice, "documents name frames by their classes"


def test_a_stream_may_hold_all_that_a_fold_gives(dialect: Dialect) -> None:
    tags = {tag(frame) for frame in streamed(dialect)}
    for events in FIXED.values():
        fold = dialect.fold()
        for one in recorded(events):
            for frame in fold.feed(one):
                assert frame.data["type"] in tags
                assert (frame.event is not None) == names_events(dialect)


def test_a_stream_holds_no_answers_to_a_sockets_frames(dialect: Dialect) -> None:
    if dialect.asks:
        assert "pong" not in {tag(frame) for frame in streamed(dialect)}


class _Terse:
    """A dialect whose HTTP errors are no frames."""

    name = "a_terse_one"
    frames = ()

    def problem(self, problem: Any, at: int) -> dict[str, Any]:
        return {"detail": problem.message, "hint": None}


def test_an_error_that_is_no_frame_has_a_type_all_the_same() -> None:
    kind = problem_type(_Terse())  # type: ignore[arg-type]
    assert kind.__name__ == "ATerseOneProblem"
    (_,), components = schemas_of([kind])
    assert components["ATerseOneProblem"] == {
        "title": "ATerseOneProblem",
        "type": "object",
        "properties": {"detail": {"type": "string"}, "hint": {}},
        "required": ["detail", "hint"],
        "additionalProperties": False,
    }
