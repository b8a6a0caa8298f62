"""A yes or a no in plain words."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.questions.consent import FILLERS, FORBIDS, NO, YES, Consent, consent
from tests.orchestrator.support import UNHURRIED

AGREES = [
    *YES.split("|"),
    "Yes!",
    "YES please",
    "yes, go ahead.",
    "ok, thank you",
    "Okay – continue",
    "please do it now",
    "approve all",
    "yes but go on",
]
REFUSES = {
    "no": "",
    "No!": "",
    "no no no": "",
    "no thanks": "",
    "stop": "",
    "cancel it please": "",
    "no, stop, do not send!": "stop, do not send!",
    "No, wrong address": "wrong address",
    "no: it is Bob’s": "it is Bob's",
    "reject because it is late": "because it is late",
    "do not go on": "do not go on",
    "please don’t send it": "please don't send it",
    "no, but tell Bob": "but tell Bob",
    "not yet": "",
    "nope\nthe amount is wrong": "the amount is wrong",
}
UNCLEAR = [
    "",
    " ",
    "please",
    "maybe",
    "yes?",
    "Should I say yes?",
    "yes but do not send",
    "yes, and copy Ann",
    "yes, don't worry",
    "no problem, go ahead",
    "no idea",
    "no but yes",
    "not sure",
    "don't know",
    "never mind",
    "don't mind if you do",
    "go to hell",
    "yesterday",
    "nothing",
    "What is the weather?",
    None,
    1,
    0,
    [],
    {"answer": "yes"},
]


@pytest.mark.parametrize("said", [*AGREES, True])
def test_what_agrees(said: object) -> None:
    assert consent(said) == Consent(True)


@pytest.mark.parametrize(("said", "reason"), [*REFUSES.items(), (False, "")])
def test_what_refuses_and_why(said: object, reason: str) -> None:
    assert consent(said) == Consent(False, reason)


@pytest.mark.parametrize("said", UNCLEAR)
def test_what_is_not_clear(said: object) -> None:
    assert consent(said) is None


yes, no = st.sampled_from(YES.split("|")), st.sampled_from([*NO.split("|"), *FORBIDS.split("|")])
fillers = st.lists(st.sampled_from(sorted(FILLERS)), max_size=3)
marks = st.sampled_from([", ", ". ", "; ", " – ", "\n", "! "])


@UNHURRIED
@given(yes, no, marks, fillers)
def test_nothing_agrees_that_also_refuses(
    agrees: str, refuses: str, mark: str, more: list[str]
) -> None:
    for said in (
        f"{agrees}{mark}{refuses}",
        f"{agrees} but {refuses}",
        " ".join([*more, refuses, agrees]),
    ):
        answer = consent(said)
        assert answer is None or not answer.agrees


@UNHURRIED
@given(st.text(max_size=60))
def test_other_words_are_neither(text: str) -> None:
    assert consent(f"{text} zebra") != Consent(True)
    assert consent(f"zebra {text}") is None


@pytest.mark.parametrize(
    "words", ["no ", "no, ", "yes ", "yes, ", "do not ", "but ", "n", "please "]
)
def test_a_long_text_is_read_in_no_time(words: str) -> None:
    began = time.process_time()
    consent(words * (32_000 // len(words)))
    assert time.process_time() - began < 2
