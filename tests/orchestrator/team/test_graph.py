"""The built-in team: with the offline model over the shipped handbook, and with agents that
fail.
"""

from __future__ import annotations

from typing import Any

import pytest

from antiphon import Agent, Team
from antiphon.orchestrator.events import (
    AgentComplete,
    AgentError,
    AgentStart,
    AnyEvent,
    Interaction,
    Progress,
    RunComplete,
    RunError,
    Sources,
    encode,
)
from antiphon.orchestrator.team.offline import NOTHING, OfflineModel
from antiphon.rag.retriever import Retriever
from tests.orchestrator.support import (
    FAILS,
    Knowledge,
    asker_of,
    askers,
    begin,
    crew,
    events_of,
    of_type,
    opened,
    route,
    served_team,
    shown_answer,
    spoken,
)
from tests.support.model_server import Reply, by_turn

POWER = "What is the engine power?"
OIL = "How often must the engine oil be changed?"


async def offline(url: str, handbook: Any, message: str, **request: Any) -> list[AnyEvent]:
    """A run of the team as it is shipped, only without its pauses between words."""
    async with opened(url, model=OfflineModel(seconds_per_word=0), retriever=handbook) as engine:
        return await events_of(await begin(engine, message, **request))


def worked(events: list[AnyEvent]) -> list[tuple[str, str]]:
    """Who worked, in which role, in order."""
    return [(start.agent, start.role) for start in of_type(events, AgentStart)]


# -- the shipped team -----------------------------------------------------------------------------


async def test_a_question_is_answered_with_the_figure_and_its_source(
    url: str, handbook: Retriever
) -> None:
    events = await offline(url, handbook, POWER)
    end = events[-1]
    assert isinstance(end, RunComplete)
    assert end.text.startswith("Engine power: 81 kW")
    assert shown_answer(events) == end.text
    assert worked(events) == [
        ("classifier", "classifier"),
        ("retriever", "retriever"),
        ("specs", "primary"),
    ]
    assert (end.primary_agent, end.execution_order) == (
        "specs",
        ["classifier", "retriever", "specs"],
    )
    assert end.sources
    assert all(f"[{hit.uri}]" in end.text and hit.snippet for hit in end.sources)
    found = {hit.uri for sources in of_type(events, Sources) for hit in sources.hits}
    assert {hit.uri for hit in end.sources} <= found
    assert end.usage.total_tokens == end.usage.input_tokens + end.usage.output_tokens > 0


async def test_progress_passes_through_every_stage_in_order(url: str, handbook: Retriever) -> None:
    stages = [event.stage for event in of_type(await offline(url, handbook, POWER), Progress)]
    assert list(dict.fromkeys(stages)) == [
        "starting",
        "agent_routing",
        "rag_retrieval",
        "generating",
        "finishing",
    ]


async def test_two_questions_go_to_two_specialists_and_are_combined(
    url: str, handbook: Retriever
) -> None:
    events = await offline(url, handbook, f"{POWER} {OIL}")
    assert sorted(worked(events)) == [
        ("classifier", "classifier"),
        ("maintenance", "supporting"),
        ("retriever", "retriever"),
        ("specs", "supporting"),
        ("synthesis", "synthesis"),
    ]
    told = {
        (event.source, event.target, event.kind): event.query
        for event in of_type(events, Interaction)
    }
    assert told["classifier", "specs", "route"] == POWER
    assert told["specs", "maintenance", "consult"] == OIL
    assert told["maintenance", "specs", "return"] == OIL
    assert told["specs", "synthesis", "handoff"] == f"{POWER} {OIL}"
    assert "81 kW" in events[-1].text
    assert "15,000 km" in events[-1].text
    assert shown_answer(events) == events[-1].text


async def test_off_topic_the_team_says_that_it_found_nothing(url: str, handbook: Retriever) -> None:
    end = (await offline(url, handbook, "Which cheese does my tortoise prefer?"))[-1]
    assert (end.text, end.sources) == (NOTHING, [])


async def test_passages_that_the_reader_may_not_see_are_neither_told_nor_used(
    url: str, handbook: Retriever
) -> None:
    question = "How many labour hours does the brake service take, and what margin is calculated?"
    for access, seen in ((("public",), False), (("public", "internal"), True)):
        events = await offline(url, handbook, question, access=access)
        assert (b"-internal-" in b"".join(map(encode, events))) is seen


# -- how agents work together ---------------------------------------------------------------------

TOGETHER = {"primary": "specs", "supporting": ["maintenance", "troubleshooting"]}


@pytest.mark.parametrize(
    ("mode", "turns", "writer"),
    [
        (None, [{"maintenance", "troubleshooting"}], "specs"),
        ("parallel", [{"maintenance", "troubleshooting"}], "specs"),
        ("sequential", [{"maintenance"}, {"troubleshooting"}], "specs"),
        ("collaborative", [{"specs", "maintenance", "troubleshooting"}], "synthesis"),
        ("enhanced_collaborative", [{"specs", "maintenance", "troubleshooting"}], "synthesis"),
        ("debate", [{"specs", "maintenance", "troubleshooting"}] * 2, "synthesis"),
    ],
)
async def test_each_mode_has_its_own_order(
    url: str, mode: str | None, turns: list[set[str]], writer: str
) -> None:
    async with served_team(url, crew()) as (server, engine):
        events = await events_of(await begin(engine, POWER, mode=mode, **TOGETHER))
        asked = askers(server)
        systems = [(asker_of(request), request.system) for request in server.requests]
    expected = [name for turn in turns for name in sorted(turn)]
    assert sorted(asked[:-1]) == sorted(expected)
    assert asked[-1] == writer
    assert (events[-1].text, events[-1].primary_agent) == (f"{writer} speaking.", writer)
    drafts = {name for turn in turns for name in turn}
    assert all(f"{name} speaking." in systems[-1][1] for name in drafts), (
        "the writer is given every draft"
    )
    if len(turns) == 2:
        for name, system in systems[len(turns[0]) : -1]:
            assert all((f"{other} speaking." in system) == (other != name) for other in turns[0])


@pytest.mark.parametrize("mode", ["sequential", "parallel", "collaborative", "debate"])
async def test_each_mode_finds_the_figure(url: str, handbook: Retriever, mode: str) -> None:
    events = await offline(url, handbook, POWER, mode=mode, **TOGETHER)
    assert events[-1].text.startswith("Engine power: 81 kW")
    assert shown_answer(events) == events[-1].text


async def test_the_request_chooses_who_answers_without_asking_the_model(url: str) -> None:
    async with served_team(url, crew()) as (server, engine):
        events = await events_of(await begin(engine, POWER, primary="troubleshooting"))
        assert askers(server) == ["troubleshooting"]
    assert (events[-1].primary_agent, events[-1].confidence) == ("troubleshooting", 1.0)


async def test_chosen_support_helps_whoever_the_model_chooses(url: str) -> None:
    script = crew(
        classifier=route("maintenance", "specs", parts={"maintenance": "a", "specs": "b"})
    )
    async with served_team(url, script) as (server, engine):
        await (await begin(engine, POWER, supporting=["troubleshooting", "maintenance"])).wait()
        assert askers(server) == ["classifier", "troubleshooting", "maintenance"]


async def test_each_specialist_is_asked_its_part_and_the_synthesis_everything(url: str) -> None:
    parts = {"specs": "The power?", "maintenance": "The oil?"}
    async with served_team(url, crew(classifier=route("specs", parts=parts))) as (server, engine):
        events = await events_of(await engine.start("Power and oil, please"))
        asked = {asker_of(request): request.last_user for request in server.requests}
    assert asked == {
        "classifier": "Power and oil, please",
        "specs": "The power?",
        "maintenance": "The oil?",
        "synthesis": "Power and oil, please",
    }
    assert spoken(events)["1.5"] == "synthesis speaking."


async def test_what_was_found_and_said_before_is_put_before_the_model(url: str) -> None:
    script = crew(classifier=route("specs"), specs=by_turn(["It is 81 kW.", "As I said."]))
    async with served_team(url, script, retriever=Knowledge(engine="It delivers 81 kW.")) as (
        server,
        engine,
    ):
        run = await engine.start(POWER)
        await run.wait()
        await (await engine.start("Really?", thread_id=run.thread_id)).wait()
        last = server.requests[-1]
    assert "It delivers 81 kW." in last.system
    assert [(message["role"], message["content"]) for message in last.messages[1:]] == [
        ("user", POWER),
        ("assistant", "It is 81 kW."),
        ("user", "Really?"),
    ]


async def test_a_team_of_ones_own_works_like_the_shipped_one(url: str, handbook: Retriever) -> None:
    team = Team(
        agents=(
            Agent(
                name="birds",
                description="Birds.",
                prompt="You know birds.",
                examples=("How do birds sing?",),
            ),
            Agent(
                name="fish",
                description="Fish.",
                prompt="You know fish.",
                examples=("How do fish swim?",),
            ),
        )
    )
    knowledge = Knowledge(fish="Fish swim with their fins. Birds sing in spring.")
    async with opened(
        url, team=team, model=OfflineModel(seconds_per_word=0), retriever=knowledge
    ) as engine:
        events = await events_of(await engine.start("How do fish swim?"))
    assert (events[-1].primary_agent, events[-1].text) == (
        "fish",
        "Fish swim with their fins. [fish.md]",
    )


def test_a_team_needs_agents_with_names_of_their_own() -> None:
    agent = Agent(name="a", description="", prompt="")
    for agents in ((), (agent, agent), (Agent(name="synthesis", description="", prompt=""),)):
        with pytest.raises(ValueError, match="names of their own"):
            Team(agents=agents)


# -- agents that fail -----------------------------------------------------------------------------

DOWN = Reply(status=500, error="secret: node 7 is on fire", headers={"x-should-retry": "false"})
CUT = Reply("It is ninety horses.", fail_after=2)
DIVIDED = route("specs", parts={"specs": "The power?", "maintenance": "The oil?"})


@pytest.mark.parametrize(
    ("reply", "code"),
    [(FAILS, "MODEL_REFUSED"), (DOWN, "MODEL_UNAVAILABLE"), (CUT, "MODEL_UNAVAILABLE")],
    ids=["refuses", "down", "cut"],
)
async def test_without_one_specialist_the_answer_says_what_is_missing(
    url: str, reply: Reply, code: str
) -> None:
    async with served_team(url, crew(classifier=DIVIDED, maintenance=reply)) as (_, engine):
        events = await events_of(await engine.start("Power and oil, please"))
    [error] = of_type(events, AgentError)
    assert (error.agent, error.code, error.recoverable) == ("maintenance", code, True)
    missing = f"Missing: the maintenance specialist could not contribute. {error.message}"
    assert shown_answer(events) == events[-1].text == f"synthesis speaking.\n\n{missing}"


async def test_when_the_one_who_answers_fails_the_synthesis_answers(url: str) -> None:
    async with served_team(url, crew(classifier=route("specs", "maintenance"), specs=CUT)) as (
        server,
        engine,
    ):
        events = await events_of(await engine.start(POWER))
        assert "maintenance speaking." in server.requests[-1].system
    assert isinstance(events[-1], RunComplete)
    assert events[-1].primary_agent == "synthesis"
    assert events[-1].text.startswith("synthesis speaking.\n\nMissing: the specs specialist")
    assert shown_answer(events) == events[-1].text, "what the failed one had said is taken back"


async def test_when_all_fail_the_run_ends_in_a_clean_error(url: str) -> None:
    replies = dict.fromkeys(("specs", "maintenance", "synthesis"), DOWN)
    async with served_team(url, crew(classifier=DIVIDED, **replies)) as (_, engine):
        run = await engine.start("Power and oil, please")
        events = await events_of(run)
        messages = [message.content for message in await engine.messages(run.thread_id)]
    assert events[-1] == RunError(
        code="MODEL_UNAVAILABLE", message="The model reported an error.", retryable=True
    )
    assert b"secret" not in b"".join(map(encode, events))
    assert messages == ["Power and oil, please"]


async def test_a_specialist_that_fails_in_the_second_round_keeps_its_first_draft(url: str) -> None:
    script = crew(maintenance=by_turn(["Every 15,000 km.", FAILS]))
    async with served_team(url, script) as (server, engine):
        end = await (
            await begin(engine, POWER, primary="specs", supporting=["maintenance"], mode="debate")
        ).wait()
        assert "Every 15,000 km." in server.requests[-1].system
    assert isinstance(end, RunComplete)


async def test_every_agent_that_spoke_is_accounted_for(url: str) -> None:
    async with served_team(url, crew(classifier=DIVIDED)) as (_, engine):
        events = await events_of(await engine.start("Power and oil, please"))
    used = {
        complete.agent: complete.usage
        for complete in of_type(events, AgentComplete)
        if complete.usage
    }
    assert set(used) == {"classifier", "specs", "maintenance", "synthesis"}
    assert events[-1].usage.total_tokens == sum(usage.total_tokens for usage in used.values())
