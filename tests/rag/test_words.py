"""Words, content words and stems."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.rag.words import STOP_WORDS, content_words, stem, stems, words


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("What's the P0301?", ["what", "s", "the", "p0301"]),
        ("1,598 cm at 2.5 bar.", ["1,598", "cm", "at", "2.5", "bar"]),
        ("snake_case and kebab-case", ["snake", "case", "and", "kebab", "case"]),
        ('NEAR("a" *) OR ^b', ["near", "a", "or", "b"]),
        ("Bremsflüssigkeit größer", ["bremsflüssigkeit", "größer"]),
        (" \0\n", []),
    ],
)
def test_words_are_letters_and_numbers_in_lower_case(text, found):
    assert words(text) == found


@given(st.text())
def test_a_word_has_nothing_that_could_be_syntax(text):
    for word in words(text):
        assert word.strip()
        assert not set(word) & set("\"'*^(){}:+-_ \0\n")


@given(st.text())
def test_content_words_are_words_in_order(text):
    found, kept = words(text), content_words(text)
    remaining = iter(found)
    assert all(word in remaining for word in kept)
    assert bool(kept) == bool(found)


@given(st.lists(st.sampled_from(["the", "engine", "of", "power", "is"])))
def test_stop_words_go_unless_there_is_nothing_else(chosen):
    kept = content_words(" ".join(chosen))
    meaning = [word for word in chosen if word not in STOP_WORDS]
    assert kept == (meaning or chosen)


@given(st.text(alphabet="abdegilnsuy", max_size=12))
def test_a_stem_begins_its_word_and_keeps_three_letters(word):
    short = stem(word)
    assert word.startswith(short)
    assert len(short) >= min(3, len(word))


@pytest.mark.parametrize(
    "family",
    [
        ("brake", "brakes", "braking", "braked"),
        ("squeal", "squeals", "squealing", "squealed"),
        ("stop", "stopping", "stopped", "stops"),
        ("fuse", "fuses"),
        ("lamp", "lamps"),
        ("glass", "glasses"),
    ],
)
def test_forms_of_a_word_have_one_stem(family):
    assert len({stem(word) for word in family}) == 1


def test_stems_leave_out_stop_words():
    assert stems("Why do the brakes squeal?") == [stem("brakes"), stem("squeal")]
