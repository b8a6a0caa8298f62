"""What an agent may say: exact, and never cut inside a word."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.budget import Limits, Meter

PIECES = st.lists(st.text(alphabet="ab .!?\n,4", min_size=1, max_size=6), min_size=1, max_size=40)


def said(limits: Limits, pieces: list[str]) -> tuple[str, str | None]:
    """All that a meter lets through, and why it stopped."""
    meter, text = Meter(limits, 0.0), ""
    for piece in pieces:
        allowed, reason = meter.say(piece, 0.0)
        text += allowed
        if reason:
            return text, reason
    return text, None


@given(PIECES)
def test_without_limits_everything_is_said(pieces: list[str]) -> None:
    assert said(Limits(), pieces) == ("".join(pieces), None)


@given(PIECES, st.integers(1, 20))
def test_what_is_said_is_always_the_beginning(pieces: list[str], tokens: int) -> None:
    whole = "".join(pieces)
    for limits in (Limits(tokens=tokens), Limits(sentences=tokens)):
        text, reason = said(limits, pieces)
        assert whole.startswith(text)
        assert reason is not None or text == whole


@given(PIECES, st.integers(1, 20))
def test_a_token_limit_is_exact_up_to_the_end_of_the_word(pieces: list[str], tokens: int) -> None:
    text, reason = said(Limits(tokens=tokens), pieces)
    assert text.startswith("".join(pieces[:tokens]))
    if reason:
        rest = "".join(pieces)[len(text) :]
        assert not text or text[-1].isspace() or rest[:1].isspace(), "cut inside a word"
        assert not re.search(r"\s", text[len("".join(pieces[:tokens])) :]), "a new word was begun"


@given(PIECES, st.integers(1, 4))
def test_pieces_do_not_matter_to_sentences(pieces: list[str], sentences: int) -> None:
    whole = "".join(pieces)
    text, reason = said(Limits(sentences=sentences), pieces)
    assert said(Limits(sentences=sentences), list(whole)) == (text, reason)


def test_two_sentences_are_two_sentences_and_figures_do_not_end_one() -> None:
    pieces = ["It holds", " 2.", "4 litres. The grade", " is 0W-20.", " Never mix", " oils."]
    assert said(Limits(sentences=2), pieces) == (
        "It holds 2.4 litres. The grade is 0W-20.",
        "max_sentences",
    )


def test_time_that_is_over_says_nothing_more() -> None:
    meter = Meter(Limits(seconds=1), started=10.0)
    assert meter.say("a", 10.5) == ("a", None)
    assert meter.say("b", 11.5) == ("", "max_seconds")


def test_one_tool_call_too_many_is_told() -> None:
    meter = Meter(Limits(tool_calls=2), 0.0)
    assert [meter.call_tool() for _ in range(3)] == [True, True, False]
