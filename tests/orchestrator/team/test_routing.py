"""Who answers, by words alone, and what a model may say about it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.team.routing import (
    Route,
    read_route,
    route_by_words,
    route_schema,
    split_questions,
)
from antiphon.rag.words import words
from tests.orchestrator.support import UNHURRIED
from tests.support.model_server import minimal_instance

PROFILES = [(agent.name, agent.description, agent.examples) for agent in TEAM]
EXAMPLES = [(agent.name, question) for agent in TEAM for question in agent.examples]

clauses = st.sampled_from(
    [question for _, question in EXAMPLES]
    + [
        "Thanks!",
        "and",
        "why?",
        "My cat likes tuna.",
        "und wie oft",
        "81 kW",
        "\n",
        "what is the weather like today",
    ]
)
messages = st.lists(clauses, min_size=1, max_size=5).flatmap(
    lambda parts: st.sampled_from([" ", " and ", "\n", ", also "]).map(
        lambda glue: glue.join(parts)
    )
)
texts = messages | st.text(min_size=1)


@pytest.mark.parametrize(("name", "question"), EXAMPLES)
def test_a_specialists_own_example_goes_to_it(name: str, question: str) -> None:
    assert route_by_words(question, PROFILES).primary == name


@UNHURRIED
@given(texts)
def test_a_route_names_agents_that_there_are_and_each_of_them_once(message: str) -> None:
    route = route_by_words(message, PROFILES)
    assert set(route.agents) <= set(TEAM.names)
    assert len(set(route.agents)) == len(route.agents)
    assert 0 <= route.confidence <= 1
    assert set(route.parts) in (set(), set(route.agents))


@UNHURRIED
@given(texts)
@example("What is the engine power? How often must the oil be changed?")
def test_every_clause_of_a_message_ends_in_some_agents_part(message: str) -> None:
    route = route_by_words(message, PROFILES)
    parts = [words(route.part(agent, message)) for agent in route.agents]
    for clause in split_questions(message):
        assert any(set(words(clause)) <= set(part) for part in parts)


@UNHURRIED
@given(texts)
def test_splitting_loses_no_word(message: str) -> None:
    glue = {"and", "also", "und"}  # what stands between two questions belongs to neither
    assert set(words(message)) - glue == set(words("\n".join(split_questions(message)))) - glue


@UNHURRIED
@given(texts)
def test_the_same_question_goes_the_same_way(message: str) -> None:
    assert route_by_words(message, PROFILES) == route_by_words(message, list(PROFILES))


def test_a_question_with_two_subjects_is_divided() -> None:
    route = route_by_words(
        "What is the engine power? How often must the brake fluid be replaced?", PROFILES
    )
    assert route.parts == {
        "specs": "What is the engine power?",
        "maintenance": "How often must the brake fluid be replaced?",
    }
    assert (route.primary, route.supporting) == ("specs", ("maintenance",))


def test_questions_joined_by_and_are_divided_too() -> None:
    assert split_questions("What is the engine power and how often is the oil changed") == [
        "What is the engine power",
        "how often is the oil changed",
    ]


def test_a_question_about_nothing_goes_to_the_first_without_confidence() -> None:
    route = route_by_words("xyzzy", PROFILES)
    assert (route.primary, route.confidence, route.supporting, route.parts) == (
        "specs",
        0.0,
        (),
        {},
    )


# -- what a model answers -------------------------------------------------------------------------

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(TEAM.names),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
answers = st.fixed_dictionaries(
    {"primary": st.sampled_from(TEAM.names) | json_values},
    optional={
        "supporting": st.lists(st.sampled_from(TEAM.names) | json_values, max_size=4) | json_values,
        "confidence": st.floats() | json_values,
        "parts": st.lists(
            st.fixed_dictionaries(
                {"agent": st.sampled_from(TEAM.names) | json_values, "question": json_values}
            )
            | json_values,
            max_size=4,
        )
        | json_values,
    },
)


@settings(UNHURRIED, max_examples=300)
@given(json_values | answers)
def test_reading_a_models_answer_never_fails(answer: Any) -> None:
    route = read_route(answer, TEAM.names)
    if route is not None:
        assert set(route.agents) <= set(TEAM.names)
        assert len(set(route.agents)) == len(route.agents)
        assert 0 <= route.confidence <= 1
        assert set(route.parts) <= set(route.agents)
        assert all(isinstance(part, str) and part for part in route.parts.values())


def test_an_enormous_confidence_does_not_fail() -> None:
    assert read_route({"primary": "specs", "confidence": 10**400}, TEAM.names) is not None


@pytest.mark.parametrize(
    "answer", [None, [], "specs", {}, {"primary": "nobody"}, {"primary": ["specs"]}]
)
def test_an_answer_that_makes_no_sense_is_no_route(answer: Any) -> None:
    assert read_route(answer, TEAM.names) is None


def test_a_sensible_answer_is_taken_and_what_is_unknown_left_out() -> None:
    answer = {
        "primary": "specs",
        "supporting": ["specs", "nobody", "troubleshooting", "troubleshooting"],
        "confidence": 7,
        "parts": [
            {"agent": "specs", "question": "power?"},
            {"agent": "maintenance", "question": "oil?"},
            {"agent": "nobody", "question": "?"},
            {"agent": "troubleshooting", "question": ""},
        ],
    }
    assert read_route(answer, TEAM.names) == Route(
        primary="specs",
        supporting=("troubleshooting", "maintenance"),
        confidence=1.0,
        parts={"specs": "power?", "maintenance": "oil?"},
        reason="chosen by the model",
    )


def test_one_part_is_no_division() -> None:
    answer = {"primary": "specs", "parts": [{"agent": "specs", "question": "power?"}]}
    route = read_route(answer, TEAM.names)
    assert route is not None
    assert (route.parts, route.part("specs", "whole?"), route.confidence) == ({}, "whole?", 0.5)


def test_what_the_schema_allows_can_be_read() -> None:
    assert read_route(minimal_instance(route_schema(TEAM.names)), TEAM.names) is not None
