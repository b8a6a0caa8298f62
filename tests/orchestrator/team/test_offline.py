"""The default model: deterministic, extractive, silent where its material is."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from antiphon.orchestrator.profiles import Profile
from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.team.offline import NOTHING, STATEMENTS, OfflineModel
from antiphon.orchestrator.team.prompts import Draft, Source, answer_prompt, classify_prompt
from antiphon.orchestrator.team.routing import read_route, route_schema
from antiphon.rag.words import words
from tests.orchestrator.support import UNHURRIED

MODEL = OfflineModel(seconds_per_word=0)
PROFILES = [(agent.name, agent.description, agent.examples) for agent in TEAM]

HANDBOOK = [
    Source(
        id="engine.md",
        title="Engine",
        text="The engine delivers 81 kW (110 hp). It has four cylinders.",
    ),
    Source(
        id="oil.md",
        title="Oil",
        text="- Change the engine oil every 15,000 km.\n- Use 0W-20 oil only.",
    ),
    Source(
        id="table.md",
        title="Data",
        text="| Property | Value |\n|---|---|\n| Boot volume | 360 litres |",
    ),
]


def answer(question: str, sources: list[Source], drafts: list[Draft] | None = None) -> str:
    prompt = answer_prompt("Answer.", sources, drafts or [])
    return MODEL.invoke([SystemMessage(prompt), HumanMessage(question)]).text


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("What power does the engine deliver?", "The engine delivers 81 kW (110 hp). [engine.md]"),
        (
            "How often do I change the engine oil?",
            "Change the engine oil every 15,000 km. [oil.md]",
        ),
        ("How large is the boot volume?", "Boot volume: 360 litres. [table.md]"),
    ],
)
def test_a_question_is_answered_by_quoting_the_statement_and_its_source(
    question: str, expected: str
) -> None:
    assert expected in answer(question, HANDBOOK).splitlines()


def test_each_question_of_a_message_is_answered_in_a_paragraph_of_its_own() -> None:
    text = answer("What power does the engine deliver? How large is the boot volume?", HANDBOOK)
    assert [paragraph.split(" [")[0] for paragraph in text.split("\n\n")] == [
        "The engine delivers 81 kW (110 hp).",
        "Boot volume: 360 litres.",
    ]


def test_what_a_user_has_told_is_neither_quoted_nor_in_the_way() -> None:
    question = "What power does the engine deliver?"
    told = Profile(
        name="Ada",
        language="de",
        tone="dry",
        facts=("The engine delivers 900 kW power.", "I have a cat."),
    )
    prompts = [answer_prompt("Answer.", HANDBOOK, [], profile) for profile in (None, told)]
    texts = [
        MODEL.invoke([SystemMessage(prompt), HumanMessage(question)]).text for prompt in prompts
    ]
    assert texts[0] == texts[1]
    alone = answer_prompt("Answer.", [], [], told)
    assert MODEL.invoke([SystemMessage(alone), HumanMessage(question)]).text == NOTHING


@pytest.mark.parametrize(
    "question",
    ["What does my cat like for breakfast?", "Who won the cup in 1954?", "", "?!", "the"],
)
def test_off_topic_it_says_that_it_found_nothing(question: str) -> None:
    assert answer(question, HANDBOOK) == NOTHING
    assert answer(question, []) == NOTHING


def test_drafts_of_others_are_quoted_once_and_silence_is_not() -> None:
    drafts = [
        Draft(agent="specs", question="q", text="81 kW. [engine.md]\nboth say this [x]"),
        Draft(
            agent="maintenance",
            question="q",
            text=f"{NOTHING}\nboth say this [x]\nEvery year. [oil.md]",
        ),
    ]
    assert (
        answer("What about my cat?", [], drafts)
        == "81 kW. [engine.md]\nboth say this [x]\n\nEvery year. [oil.md]"
    )


lines = st.sampled_from(
    ["The engine delivers 81 kW.", "It has four.", "Oil is 0W-20.", "Zur Not: Öl!", "x < y & z"]
)
sources = st.builds(
    Source,
    id=st.sampled_from(["a.md", "b.md", "c.md"]),
    title=st.sampled_from(["Engine", "Oil & more", "x"]),
    text=st.lists(lines).map(" ".join) | st.lists(lines).map("\n- ".join) | st.text(),
)
questions = (
    st.sampled_from([q for a in TEAM for q in a.examples] + ["engine oil", "0W-20", "z"])
    | st.text()
)


@UNHURRIED
@given(questions, st.lists(sources, max_size=4))
@example("How large is the boot volume?", HANDBOOK)
def test_it_never_says_what_is_not_in_its_sources(
    question: str, given_sources: list[Source]
) -> None:
    text = answer(question, given_sources)
    if text == NOTHING:
        return
    for line in text.split("\n"):
        if not line.strip():
            continue
        statement, cited = re.fullmatch(r"(.*) \[(.*?)\]", line, re.DOTALL).groups()  # type: ignore[union-attr]
        document = " ".join(source.text for source in given_sources if source.id == cited)
        assert set(words(statement)) <= set(words(document))


@UNHURRIED
@given(questions, st.lists(sources, max_size=4))
def test_it_is_deterministic_and_brief(question: str, given_sources: list[Source]) -> None:
    text = answer(question, given_sources)
    assert answer(question, given_sources) == text
    assert all(paragraph.count(" [") <= STATEMENTS for paragraph in text.split("\n\n"))


# -- the shape of a chat model --------------------------------------------------------------------


async def streamed(question: str) -> list[str]:
    prompt = answer_prompt("Answer.", HANDBOOK, [])
    return [
        chunk.text async for chunk in MODEL.astream([SystemMessage(prompt), HumanMessage(question)])
    ]


async def test_it_streams_the_same_text_word_by_word() -> None:
    pieces = await streamed("What power does the engine deliver? How large is the boot volume?")
    assert "".join(pieces) == answer(
        "What power does the engine deliver? How large is the boot volume?", HANDBOOK
    )
    assert all(len(piece.split()) <= 1 for piece in pieces)


async def test_streaming_without_a_loop_gives_the_same_pieces() -> None:
    prompt = [SystemMessage(answer_prompt("Answer.", HANDBOOK, [])), HumanMessage("What power?")]
    assert [chunk.text for chunk in MODEL.stream(prompt)] == [
        chunk.text async for chunk in MODEL.astream(prompt)
    ]


async def test_it_counts_words_and_says_why_it_ended() -> None:
    message = await MODEL.ainvoke([SystemMessage("one two"), HumanMessage("three")])
    assert isinstance(message, AIMessage)
    assert message.response_metadata["finish_reason"] == "stop"
    assert message.usage_metadata == {
        "input_tokens": 3,
        "output_tokens": len(words(NOTHING)),
        "total_tokens": 3 + len(words(NOTHING)),
    }


@pytest.mark.parametrize(("name", "question"), [(agent.name, agent.examples[0]) for agent in TEAM])
async def test_it_routes_by_structured_output_like_any_other_model(
    name: str, question: str
) -> None:
    router: Any = MODEL.with_structured_output(route_schema(TEAM.names))
    found = await router.ainvoke([SystemMessage(classify_prompt(PROFILES)), HumanMessage(question)])
    route = read_route(found, TEAM.names)
    assert route is not None
    assert route.primary == name


def test_tools_other_than_the_route_are_never_called() -> None:
    def weather(place: str) -> str:
        """Say the weather."""
        return place

    message = MODEL.bind_tools([weather]).invoke("What is the weather?")
    assert (message.tool_calls, message.text) == ([], NOTHING)


@UNHURRIED
@given(st.text())
def test_any_text_can_be_asked(question: str) -> None:
    assert answer(question, HANDBOOK)
