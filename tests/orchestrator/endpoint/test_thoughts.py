from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.endpoint.thoughts import CLOSING, OPENING, Thoughts


def split(pieces: list[str]) -> tuple[str, str]:
    thoughts = Thoughts()
    parts = [thoughts.feed(piece) for piece in pieces] + [thoughts.close()]
    return "".join(thought for thought, _ in parts), "".join(answer for _, answer in parts)


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>Let me see.</think>\n\nIt is red.", "Let me see.", "It is red."),
        ("<thinking>a</thinking>b", "a", "b"),
        ("\n <think>a</think>\n<think>b</think> c", "ab", " c"),
        ("It is red.", "", "It is red."),
        ("Write <think>x</think> around it.", "", "Write <think>x</think> around it."),
        ("<think>never closed", "never closed", ""),
        ("<thi", "", "<thi"),
        ("  ", "", ""),
        ("", "", ""),
    ],
)
def test_thoughts_are_kept_apart_wherever_the_pieces_are_cut(
    text: str, thought: str, answer: str
) -> None:
    assert split([text]) == (thought, answer)
    assert split(list(text)) == (thought, answer)
    for cut in range(len(text)):
        assert split([text[:cut], text[cut:]]) == (thought, answer)


@given(
    st.lists(st.sampled_from([*OPENING, *CLOSING, "a", " ", "\n", "<", "th", "ink>"]), max_size=8)
)
def test_the_cuts_never_matter(words: list[str]) -> None:
    assert split(words) == split(["".join(words)]) == split(list("".join(words)))


@given(st.text(alphabet="ab <>/think\n"))
def test_an_answer_without_a_tag_at_its_start_stays_whole(text: str) -> None:
    if not text.lstrip().startswith("<"):
        assert split(list(text)) == ("", text.lstrip("\n") if text.strip() else "")
