"""How questions are shown, and what an answer gives the graph."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.errors import AnswerInvalid, AnswerUnclear, UnknownQuestion
from antiphon.orchestrator.events import Interrupt, decode, encode
from antiphon.orchestrator.questions.questions import (
    GraphQuestion,
    Reading,
    breakpoint_of,
    draft_of,
    interrupt_of,
    read_answer,
    stopped_text,
)
from tests.orchestrator.support import UNHURRIED

ONE, TWO, THREE = ("1" * 32, "2" * 32, "3" * 32)


def asked(value: Any, **more: Any) -> Interrupt:
    """One question."""
    return interrupt_of([GraphQuestion(ONE, value, **more)])


def both(first: Any = "pay Bob 10?", second: Any = "delete the database?") -> Interrupt:
    """Two questions."""
    return interrupt_of([GraphQuestion(ONE, first), GraphQuestion(TWO, second)])


def given_to_graph(event: Interrupt, said: Any) -> Any:
    """What the graph is given for the oldest question."""
    return read_answer(event, said).resume[event.id]


# -- showing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "question", "text"),
    [
        ("sure?", "sure?", "sure?"),
        ("", "", "?"),
        (None, None, "null"),
        (5, 5, "5"),
        (["a", "b"], ["a", "b"], '["a","b"]'),
        ({"question": "sure?"}, "sure?", "sure?"),
        ({"question": "sure?", "options": [1], "schema": {}}, "sure?", "sure?"),
        ({"question": "sure?", "draft": "Dear Bob"}, "sure?", "sure?\n\ndraft: Dear Bob"),
        ({"message": "sure?", "to": ["ada"]}, "sure?", 'sure?\n\nto: ["ada"]'),
        ({"question": {"text": "x"}}, {"text": "x"}, '{"text":"x"}'),
        ({"draft": "Dear Bob"}, {"draft": "Dear Bob"}, '{"draft":"Dear Bob"}'),
        ({}, {}, "{}"),
    ],
)
def test_a_question_is_shown_with_all_that_must_be_read(
    value: Any, question: Any, text: str
) -> None:
    event = asked(value)
    assert (event.question, event.text, event.value) == (question, text, value)


def test_the_oldest_question_comes_first_and_all_are_known_by_their_ids() -> None:
    event = both(
        {"question": "pay Bob 10?", "options": ["yes"]},
        {"question": "delete?", "schema": {"type": "null"}},
    )
    assert event.text == "pay Bob 10?\n\nAlso open:\n- delete?"
    assert [(one.id, one.question, one.options, one.schema) for one in event.open] == [
        (ONE, "pay Bob 10?", ["yes"], None),
        (TWO, "delete?", None, {"type": "null"}),
    ]
    assert list(event.questions) == [ONE, TWO]
    assert asked("sure?").questions == {}


def test_a_schema_that_counts_is_told_from_one_that_is_a_hint() -> None:
    hint = asked({"question": "how many?", "schema": {"type": "integer"}})
    strict = asked(
        {"question": "how many?", "schema": {"type": "string"}}, schema={"type": "integer"}
    )
    assert (hint.schema, hint.strict) == ({"type": "integer"}, False)
    assert (strict.schema, strict.strict) == ({"type": "integer"}, True)


def test_a_choice_is_an_option() -> None:
    assert asked("which?", schema={"enum": ["a", "b"]}).options == ["a", "b"]


def test_the_call_that_asks_is_kept() -> None:
    assert asked("sure?", call_id="call").call_id == "call"


def test_a_question_that_is_asked_again_says_why() -> None:
    event = interrupt_of([GraphQuestion(ONE, "sure?")], refused=True)
    assert (event.reason, event.question) == ("answer_refused", "sure?")
    assert event.text == "The graph did not take that answer. Please answer again.\n\nsure?"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3)
    ),
    max_leaves=10,
)


@UNHURRIED
@given(st.lists(json, min_size=1, max_size=3))
def test_any_value_is_kept_and_can_be_read_again(values: list[Any]) -> None:
    event = interrupt_of(
        [GraphQuestion(f"{index:032}", value) for index, value in enumerate(values)]
    )
    assert decode(encode(event)) == event
    assert event.text
    assert event.value == values[0]
    assert not event.questions or list(event.questions.values()) == values


# -- breakpoints -----------------------------------------------------------------------------------

STOP = breakpoint_of(
    "c-1", ["send"], {"messages": {"role": "ai", "content": "Dear Bob"}, "to": "bob", "tries": 2}
)


def test_a_breakpoint_shows_what_comes_next_and_the_draft() -> None:
    assert (STOP.id, STOP.reason, STOP.options) == ("c-1", "breakpoint", ["yes", "no"])
    assert STOP.value["next"] == ["send"]
    assert STOP.value["state"] == {
        "messages": {"role": "ai", "content": "Dear Bob"},
        "to": "bob",
        "tries": 2,
    }
    assert STOP.question == "The graph has stopped before `send`. Shall it go on?"
    assert STOP.text == f"Dear Bob\n\nbob\n\n{STOP.question}"


def test_the_tools_that_a_message_calls_are_shown() -> None:
    call = {"name": "mail", "args": {"to": "bob"}, "id": "1"}
    message = {"role": "ai", "content": "", "tool_calls": [call]}
    assert breakpoint_of("c", ["tools"], {"messages": message}).text.startswith(
        'mail({"to":"bob"})\n\n'
    )


def test_a_large_state_is_bounded() -> None:
    state = {f"key{number}": "x" * 100_000 for number in range(100)} | {"list": [0] * 100_000}
    shown = draft_of(state)
    assert len(msgspec.json.encode(shown)) < 40_000
    assert len(shown["key0"]) == 2001
    assert "list" not in shown
    assert draft_of("x" * 100_000)[:3] == "xxx"
    message = {
        "role": "ai",
        "content": "x" * 9000,
        "tool_calls": [{"name": "mail", "args": {"to": "x" * 9000}}] * 99,
    }
    shown = draft_of({"messages": message})["messages"]
    assert (len(shown["content"]), len(shown["tool_calls"])) == (2001, 10)
    assert shown["tool_calls"][0]["args"].startswith('{"to":"xxx')
    assert draft_of(["x" * 100_000]) is None


@pytest.mark.parametrize(
    "said", ["yes", "ok", "go on", "continue", "Continue.", True, "yes, please", "go ahead"]
)
def test_a_yes_goes_on_from_a_breakpoint(said: Any) -> None:
    assert read_answer(STOP, said) == Reading("c-1", {})


@pytest.mark.parametrize("said", ["no", "stop", "cancel", False, "no, stop, do not send!", "don't"])
def test_a_no_ends_the_run_at_a_breakpoint(said: Any) -> None:
    assert read_answer(STOP, said) == Reading("c-1", {}, stops=True)


@pytest.mark.parametrize(
    "said", ["yes but do not send", "maybe", "Who is Bob?", "", None, 1, 0, [], {}, {"a": "yes"}]
)
def test_anything_else_does_neither(said: Any) -> None:
    with pytest.raises(AnswerUnclear):
        read_answer(STOP, said)


def test_the_run_says_what_it_stopped_before() -> None:
    assert stopped_text(STOP) == "Stopped before `send`."
    assert stopped_text(breakpoint_of("c", ["a", "b"], {})) == "Stopped before `a` and `b`."
    assert stopped_text(breakpoint_of("c", [], {})) == "Stopped."


# -- which question --------------------------------------------------------------------------------


def test_an_answer_is_for_the_oldest_question() -> None:
    assert read_answer(both(), "yes") == Reading(ONE, {ONE: "yes"})


def test_an_answer_may_name_its_question() -> None:
    assert read_answer(both(), "yes", TWO) == Reading(TWO, {TWO: "yes"})
    assert read_answer(both(), {TWO: "yes"}) == Reading(TWO, {TWO: "yes"})
    assert read_answer(both(), f'{{"{TWO}": "yes"}}') == Reading(TWO, {TWO: "yes"})


def test_an_answer_may_be_for_several() -> None:
    assert read_answer(both(), {TWO: False, ONE: True}) == Reading(ONE, {TWO: False, ONE: True})
    assert read_answer(asked("sure?"), {ONE: "yes"}) == Reading(ONE, {ONE: "yes"})


@pytest.mark.parametrize("said", [{ONE: "yes", "x": 1}, {THREE: "yes"}, {ONE: 1, THREE: 2}])
def test_an_answer_to_a_question_that_is_not_open_is_refused(said: Any) -> None:
    with pytest.raises(UnknownQuestion):
        read_answer(both(), said)


def test_an_unknown_id_is_refused() -> None:
    for id_ in (THREE, "", "x"):
        with pytest.raises(UnknownQuestion):
            read_answer(both(), "yes", id_)


def test_an_object_with_other_keys_is_the_answer_itself() -> None:
    for said in ({"a": 1}, {}, {"1": 2}):
        assert read_answer(both(), said) == Reading(ONE, {ONE: said})
    assert read_answer(both(), {ONE: "nested"}, TWO) == Reading(TWO, {TWO: {ONE: "nested"}})


# -- what the graph is given -----------------------------------------------------------------------


@UNHURRIED
@given(json.filter(lambda value: not (isinstance(value, dict) and value)))
def test_an_answer_without_a_schema_reaches_the_graph_as_it_is(said: Any) -> None:
    for value in ("sure?", {"question": "sure?", "options": ["a"], "schema": {"type": "integer"}}):
        assert given_to_graph(asked(value), said) == said


@pytest.mark.parametrize(
    ("options", "said", "answer"),
    [
        ([True, False], "false", False),
        ([True, False], "No", False),
        ([True, False], "yes", True),
        ([True, False], "maybe", "maybe"),
        ([True, False, 0, "", []], "no", "no"),
        ([True, False, 0, "", []], "", ""),
        ([1, 2], "2", 2),
        ([1, "2"], "2", "2"),
        ([None, {"a": 1}], '{"a":1}', {"a": 1}),
        (["yes", "no"], "no", "no"),
        (["yes", "no"], "perhaps", "perhaps"),
    ],
)
def test_the_text_of_an_option_is_that_option(options: list[Any], said: str, answer: Any) -> None:
    assert given_to_graph(asked({"question": "sure?", "options": options}), said) == answer


@pytest.mark.parametrize(
    ("schema", "said", "answer"),
    [
        ({"type": "boolean"}, "yes", True),
        ({"type": "boolean"}, "false", False),
        ({"type": "boolean"}, "no, thanks", False),
        ({"type": "boolean"}, False, False),
        ({"type": "integer"}, "5", 5),
        ({"type": "number"}, " 1.5 ", 1.5),
        ({"type": "string"}, "5", "5"),
        ({"type": "string"}, "yes", "yes"),
        ({"type": ["string", "integer"]}, "5", "5"),
        ({"type": "object"}, '{"a": 1}', {"a": 1}),
        ({"type": "array"}, "[1]", [1]),
        ({"type": "null"}, None, None),
        ({"enum": ["a", "b"]}, "a", "a"),
        ({"enum": [1, 2]}, "2", 2),
    ],
)
def test_a_text_may_stand_for_what_the_schema_wants(
    schema: dict[str, Any], said: Any, answer: Any
) -> None:
    assert given_to_graph(asked("?", schema=schema), said) == answer


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "boolean"}, "maybe"),
        ({"type": "boolean"}, "yes but no"),
        ({"type": "boolean"}, 1),
        ({"type": "integer"}, "five"),
        ({"type": "integer", "minimum": 3}, "2"),
        ({"type": "object"}, "{"),
        ({"type": "object"}, None),
        ({"enum": ["a", "b"]}, "c"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(schema: dict[str, Any], said: Any) -> None:
    with pytest.raises(AnswerInvalid, match="The answer does not fit: "):
        read_answer(asked("?", schema=schema), said)


def test_nothing_is_answered_if_one_of_several_answers_does_not_fit() -> None:
    event = interrupt_of([GraphQuestion(ONE, "?"), GraphQuestion(TWO, "?", {"type": "integer"})])
    with pytest.raises(AnswerInvalid):
        read_answer(event, {ONE: "yes", TWO: "no"})


def test_a_review_and_a_plain_question_may_be_open_at_once() -> None:
    calls = {"action_requests": [{"name": "mail", "args": {}}], "review_configs": []}
    event = both("sure?", calls)
    answer = {"decisions": [{"type": "approve"}]}
    assert read_answer(event, {ONE: "yes", TWO: "yes"}).resume == {ONE: "yes", TWO: answer}
