"""Questions to the shipped handbook find their page, and nothing that a reader may not see."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.rag.retriever import QUERY_WORDS, Retriever
from antiphon.rag.types import PUBLIC, Chunk, Document

QUESTIONS = {
    "What is the engine power?": ["02-engine.md", "01-at-a-glance.md"],
    "What is the towing capacity?": ["07-dimensions-weights-and-towing.md"],
    "What does fault code P0301 mean?": ["17-fault-codes.md"],
    "Why do the brakes squeal?": ["19-brake-and-steering-noises.md"],
    "How do I book a service appointment?": ["15-service-appointment.md"],
    "When is the brake fluid replaced?": ["12-brake-service.md", "10-maintenance-plan.md"],
    "Which fuse protects the fuel pump?": ["09-electrical-system-fuses-and-bulbs.md"],
    "How big is the traction battery?": ["03-hybrid-system-and-traction-battery.md"],
    "Which gear ratios does the transmission have?": ["04-transmission-and-drivetrain.md"],
    "How does the electric parking brake work?": ["05-chassis-brakes-and-steering.md"],
    "May I fit snow chains?": ["06-wheels-and-tyres.md"],
    "Which coolant do I need?": ["08-fuel-consumption-and-capacities.md"],
    "How do I change the engine oil?": ["11-engine-oil-and-filter-change.md"],
    "How are the tyres rotated?": ["13-tyre-care-and-rotation.md"],
    "How do I jump-start the car with a flat battery?": ["14-battery-care.md"],
    "What does the red oil-can lamp mean?": ["16-warning-lamps.md"],
    "Blue smoke comes from the exhaust": ["18-starting-and-running-problems.md"],
    "The infotainment system hangs, how can it be restarted?": [
        "20-climate-and-infotainment-trouble.md"
    ],
}
INTERNAL = {
    "What is the internal labour rate for warranty work?": (
        "21-internal-labour-times-and-margins.md"
    ),
    "What is the goodwill approval limit?": "22-internal-goodwill-warranty.md",
    "What does service bulletin SB-7731 say?": "23-internal-service-bulletin.md",
    "What is immobiliser routine KX-9042?": "24-internal-key-programming.md",
}


async def documents_for(store, question: str, *access: str) -> set[str]:
    return {hit.chunk.document for hit in await Retriever(store).search(question, access)}


@pytest.mark.parametrize("question", QUESTIONS)
async def test_a_question_finds_its_page(sample, question):
    assert await documents_for(sample, question, PUBLIC) & set(QUESTIONS[question])


@pytest.mark.parametrize("question", INTERNAL)
async def test_an_internal_page_is_found_by_those_who_may_see_it_only(sample, question):
    assert INTERNAL[question] in await documents_for(sample, question, PUBLIC, "internal")
    assert not any(
        "internal" in document for document in await documents_for(sample, question, PUBLIC)
    )
    assert await documents_for(sample, question, "internal") <= set(INTERNAL.values())


async def test_who_says_nothing_reads_what_is_public(sample):
    for question in INTERNAL:
        assert {hit.chunk.access for hit in await Retriever(sample).search(question)} <= {PUBLIC}


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50
)
@given(st.text())
async def test_any_question_is_answered_without_an_error_from_public_pages(sample, question):
    hits = await Retriever(sample).search(question)
    assert {hit.chunk.access for hit in hits} <= {PUBLIC}


@pytest.mark.parametrize(
    "syntax",
    ['" OR 1', "NEAR(engine power, 5)", "engine*", "label : internal", "'; --", "\0engine\0"],
)
async def test_syntax_in_a_question_is_only_text(sample, syntax):
    expected = await Retriever(sample).search("engine")
    hits = await Retriever(sample).search(syntax)
    assert {hit.chunk.access for hit in hits} <= {PUBLIC}
    if syntax in ("engine*", "\0engine\0"):
        assert hits == expected


@pytest.mark.parametrize("question", ["", " ?! ", "\0", "🚗"])
async def test_a_question_without_words_finds_nothing(sample, question):
    assert await Retriever(sample).search(question) == []


async def test_hits_are_limited_and_the_best_come_first(sample):
    many = await Retriever(sample, limit=50).search("brake")
    assert [hit.score for hit in many] == sorted((hit.score for hit in many), reverse=True)
    assert await Retriever(sample, limit=3).search("brake") == many[:3]


@pytest.mark.parametrize(
    ("question", "counts"),
    [("early {filler} late", ["early"]), ("early " * QUERY_WORDS + "late", ["early", "late"])],
    ids=["different words", "repeated words"],
)
async def test_only_the_first_words_of_a_very_long_question_count(store, question, counts):
    for name in ("early", "late"):
        chunk = Chunk(document=name, ordinal=0, heading="", text=name, access=PUBLIC)
        store.put(Document(uri=name, title=name, text=name), [chunk])
    filler = " ".join(f"filler{number}" for number in range(QUERY_WORDS))
    hits = await Retriever(store).search(question.format(filler=filler))
    assert [hit.chunk.document for hit in hits] == counts
