"""Conversations in steps last from turn to turn, through restarts, crashes and failures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon import Engine, Run
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AnyEvent,
    RunCancelled,
    RunComplete,
    RunError,
    WorkflowUpdate,
)
from antiphon.orchestrator.flows.check import check
from antiphon.orchestrator.flows.compile import compile_flow
from antiphon.orchestrator.flows.definition import Exits, FlowInvalid
from antiphon.orchestrator.flows.kinds import KINDS
from antiphon.orchestrator.flows.team import team_flow
from antiphon.orchestrator.models import chat_model
from antiphon.orchestrator.opening import open_library
from antiphon.orchestrator.request import Request
from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.team.offline import OfflineModel
from antiphon.rag.retriever import Retriever
from tests.orchestrator.engine.test_crash import killed
from tests.orchestrator.flows.support import (
    answered,
    asked,
    end_of,
    flow,
    node,
    says,
    small_flows,
    speaking,
)
from tests.orchestrator.support import (
    FAILS,
    UNHURRIED,
    events_of,
    of_type,
    opened,
    reach_text,
    served_team,
)
from tests.support.model_server import ModelServer, Reply, by_turn


def step(name: str, **config: Any) -> dict[str, Any]:
    return node("step", goal=f"Do {name}.", **config)


NEXT = 'contains(message, "next")'
THREE = flow(
    "i>t>u>v>o",
    {"t>u": NEXT, "u>v": NEXT, "v>o": NEXT},
    **{name: step(name) for name in "tuv"},
    o=node("output", text='Bye, {{ steps["t"]["message"] }}.'),
)
REPLIES = {"t": "Who are you?", "u": "What do you want?", "v": "Anything else?"}


class Talk:
    """A conversation with a flow, and the updates of its workflow."""

    def __init__(self, engine: Engine, raw: Any = None, thread: str | None = None) -> None:
        self.engine = engine
        self.raw = raw
        self.thread = thread

    async def begin(self, message: str, graph: str = "flow:f") -> Run:
        assert self.engine.flows
        if self.raw is not None:
            await self.engine.flows.save(self.raw, "local", "f")
            self.raw = None
        run = await self.engine.start(message, graph=graph, thread_id=self.thread)
        self.thread = run.thread_id
        return run

    async def say(self, message: str) -> tuple[str, list[tuple[Any, ...]]]:
        """Send a message; return the answer, and the updates of the workflow."""
        events = await events_of(await self.begin(message))
        return end_of(events).text, updates(events)

    async def standing(self) -> list[tuple[Any, ...]]:
        """Return all updates in the log of the thread."""
        assert self.thread
        rows = await self.engine.database.read(self.thread, 0, 10_000)
        runs = dict.fromkeys(row.run_id for row in rows if row.run_id)
        by_run = [await events_of(await self.engine.run(run)) for run in runs]
        return [update for events in by_run for update in updates(events)]


def updates(events: list[AnyEvent]) -> list[tuple[Any, ...]]:
    return [
        (event.status, event.step) + ((event.previous,) if event.previous else ())
        for event in of_type(events, WorkflowUpdate)
    ]


# ------------------------------------------------------------------------------------- turn by turn


async def test_a_workflow_goes_from_step_to_step_and_reports_each_once(url: str) -> None:
    async with served_team(url, speaking(**REPLIES)) as (server, engine):
        talk = Talk(engine, THREE)
        assert await talk.say("Ada") == ("Who are you?", [("created", "t")])
        assert await talk.say("hm") == ("Who are you?", [("running", "t")])
        assert await talk.say("next") == (
            "What do you want?",
            [("step_completed", "t"), ("transition", "u", "t")],
        )
        assert await talk.say("hm") == ("What do you want?", [("running", "u")])
        assert await talk.say("next") == (
            "Anything else?",
            [("step_completed", "u"), ("transition", "v", "u")],
        )
        assert await talk.say("next") == ("Bye, hm.", [("step_completed", "v"), ("completed", "v")])
        assert await talk.say("Eve") == ("Who are you?", [("created", "t")])
        ids = [
            event.workflow_id
            for thread in await engine.threads()
            async for event in workflow_events(engine, thread.id)
        ]
    assert asked(server) == ["t", "t", "u", "u", "v", "t"]
    assert len(set(ids[:-1])) == 1
    assert ids[-1] not in ids[:-1]


async def workflow_events(engine: Engine, thread: str) -> Any:
    rows = await engine.database.read(thread, 0, 10_000)
    for run in dict.fromkeys(row.run_id for row in rows if row.run_id):
        for event in of_type(await events_of(await engine.run(run)), WorkflowUpdate):
            yield event


async def test_messages_that_are_sent_at_once_are_taken_one_after_another(url: str) -> None:
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, THREE)
        runs = [await talk.begin(message) for message in ("Ada", "next", "next", "next")]
        assert [await run.text() for run in runs] == [*REPLIES.values(), "Bye, Ada."]


async def test_a_step_without_a_way_on_ends_the_workflow(url: str) -> None:
    raw = flow("i>t>u", {"t>u": "turn >= 2"}, t=step("t"), u=step("u"))
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, raw)
        assert await talk.say("1") == ("Who are you?", [("created", "t")])
        assert await talk.say("2") == ("Who are you?", [("running", "t")])
        expected = [
            ("step_completed", "t"),
            ("transition", "u", "t"),
            ("step_completed", "u"),
            ("completed", "u"),
        ]
        assert await talk.say("3") == ("What do you want?", expected)
        assert (await talk.say("4"))[1] == [("created", "t")]


async def test_a_step_may_lead_back_to_itself_and_to_earlier_ones(url: str) -> None:
    raw = flow(
        "i>t>u>t t>t",
        {"t>u": NEXT, "u>t": '"back" in message', "t>t": '"again" in message'},
        t=step("t"),
        u=step("u"),
    )
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, raw)
        seen = [
            (await talk.say(message))[1][-1] for message in ("hi", "again", "next", "back", "next")
        ]
    assert seen == [
        ("created", "t"),
        ("running", "t"),
        ("transition", "u", "t"),
        ("transition", "t", "u"),
        ("transition", "u", "t"),
    ]


async def test_nodes_between_steps_work_on_the_way_and_their_outputs_are_kept(url: str) -> None:
    raw = flow(
        "i>x>t>k>u",
        {"t>k": NEXT},
        x=node("template", template="<{{ message }}>"),
        t=step("t"),
        k=node("template", template='{{ outputs["x"] }}{{ outputs["t"] }}'),
        u=node("step", goal='Do u. {{ outputs["k"] }} {{ steps["t"]["response"] }}'),
    )
    async with served_team(url, speaking(**REPLIES)) as (server, engine):
        talk = Talk(engine, raw)
        await talk.say("Ada")
        assert (await talk.say("next"))[0] == "What do you want?"
    assert "&lt;Ada&gt;Who are you? Who are you?" in server.requests[1].system


async def test_an_output_without_a_text_repeats_the_last_step(url: str) -> None:
    raw = flow("i>t>o", {"t>o": NEXT}, t=step("t"))
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, raw)
        await talk.say("Ada")
        assert await talk.say("next") == (
            "Who are you?",
            [("step_completed", "t"), ("completed", "t")],
        )


async def test_an_approval_between_steps_keeps_the_place(url: str) -> None:
    raw = flow(
        "i>t>h>u", {"t>h": NEXT}, t=step("t"), u=step("u"), h=node("approval", question="Sure?")
    )
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, raw)
        await talk.say("Ada")
        run = await talk.begin("next")
        assert await run.text() == "Sure?"
        again = await talk.begin("yes")
        assert again.id == run.id
        assert updates(await events_of(again))[:2] == [
            ("step_completed", "t"),
            ("transition", "u", "t"),
        ]


async def test_a_step_writes_two_sentences_and_stops_the_model(url: str) -> None:
    endless = Reply(
        chunks=["First. ", "Sec", "ond. ", "Third"] + [" and more"] * 20_000, delay=0.001
    )
    async with served_team(url, speaking(t=endless)) as (server, engine):
        events = await answered(engine, flow("i>t", t=step("t")))
        request = await server.wait_ended(0)
    assert end_of(events).text == "First. Second."
    assert request.closed_by_client
    [complete] = [event for event in of_type(events, AgentComplete) if event.agent == "t"]
    assert complete.finish_reason == "max_sentences"


# --------------------------------------------------------------------------------------- what lasts


async def test_the_place_is_kept_while_the_engine_is_closed(url: str) -> None:
    thread = None
    seen = []
    for message in ("Ada", "next", "next", "next"):
        async with served_team(url, speaking(**REPLIES)) as (_, engine):
            talk = Talk(engine, THREE if thread is None else None, thread)
            seen += (await talk.say(message))[1]
            thread = talk.thread
    assert seen == [
        ("created", "t"),
        *(("step_completed", "t"), ("transition", "u", "t")),
        *(("step_completed", "u"), ("transition", "v", "u")),
        *(("step_completed", "v"), ("completed", "v")),
    ]


async def test_a_cancelled_turn_leaves_the_place_as_it_was(url: str) -> None:
    replies = REPLIES | {"u": by_turn([Reply("What do you", hang_after=1), "What?"])}
    async with served_team(url, speaking(**replies)) as (_, engine):
        talk = Talk(engine, THREE)
        await talk.say("Ada")
        run = await talk.begin("next")
        await reach_text(run, "What")
        await run.cancel()
        assert isinstance(await run.wait(), RunCancelled)
        assert await talk.say("hm") == ("Who are you?", [("running", "t")])
        assert await talk.say("next") == (
            "What?",
            [("step_completed", "t"), ("transition", "u", "t")],
        )


async def test_a_failed_turn_leaves_the_place_as_it_was(url: str) -> None:
    async with served_team(url, speaking(**REPLIES | {"u": by_turn([FAILS, "What?"])})) as (
        _,
        engine,
    ):
        talk = Talk(engine, THREE)
        await talk.say("Ada")
        assert isinstance(await (await talk.begin("next")).wait(), RunError)
        assert await talk.say("next") == (
            "What?",
            [("step_completed", "t"), ("transition", "u", "t")],
        )


async def test_a_condition_that_fails_leaves_the_place_as_it_was(url: str) -> None:
    raw = flow("i>t>u", {"t>u": "1 / number(message) > 0"}, t=step("t"), u=step("u"))
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, raw)
        await talk.say("Ada")
        end = await (await talk.begin("0")).wait()
        assert isinstance(end, RunError)
        assert end.code == "FLOW_FAILED"
        assert ("transition", "u", "t") in (await talk.say("1"))[1]


async def test_a_definition_without_the_step_starts_anew(url: str) -> None:
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, THREE)
        await talk.say("Ada")
        talk.raw = flow("i>u>v", {"u>v": NEXT}, u=step("u"), v=step("v"))
        assert await talk.say("next") == ("What do you want?", [("created", "u")])
        talk.raw = flow("i>v>u>o", {"v>u": NEXT}, u=says("t"), v=step("v"))
        assert await talk.say("next") == ("Anything else?", [("created", "v")])


async def test_a_definition_whose_step_is_still_there_goes_on(url: str) -> None:
    async with served_team(url, speaking(**REPLIES)) as (_, engine):
        talk = Talk(engine, THREE)
        await talk.say("Ada")
        talk.raw = flow(
            "i>u>t>v", {"u>t": NEXT, "t>v": NEXT}, **{name: step(name) for name in "tuv"}
        )
        expected = [
            ("step_completed", "t"),
            ("transition", "v", "t"),
            ("step_completed", "v"),
            ("completed", "v"),
        ]
        assert await talk.say("next") == ("Anything else?", expected)


async def test_each_flow_keeps_its_own_place_in_a_conversation(url: str) -> None:
    async with served_team(url, speaking(a="a.", **REPLIES)) as (_, engine):
        assert engine.flows
        await engine.flows.save(flow(a=says("a")), "local", "plain")
        await engine.flows.save(
            flow("i>v>u", {"v>u": NEXT}, u=step("u"), v=step("v")), "local", "g"
        )
        talk = Talk(engine, THREE)
        await talk.say("Ada")
        await (await talk.begin("next", "flow:plain")).wait()
        assert (await talk.say("hm"))[1] == [("running", "t")]
        assert updates(await events_of(await talk.begin("next", "flow:g"))) == [("created", "v")]


# --------------------------------------------------------------------------------- killed processes


def has(kind: type[Any], agent: str | None = None) -> Callable[[list[AnyEvent]], bool]:
    """Return whether there is an event of a type, of this agent if one is named."""

    def is_there(events: list[AnyEvent]) -> bool:
        of_kind = [event for event in events if isinstance(event, kind)]
        return any(agent in (None, getattr(event, "agent", None)) for event in of_kind)

    return is_there


async def save(url: str, raw: Any) -> None:
    async with open_library(url) as library:
        await library.save(raw, "local", "f")


async def recovered(
    url: str, server: ModelServer, run_id: str, *messages: str
) -> tuple[str, list[tuple[Any, ...]]]:
    """Take over a run, and send more messages; return its answer and all updates of the thread."""
    model: Any = chat_model("openai:gpt-4o-mini", base_url=server.base_url)
    try:
        async with opened(url, model=model) as engine:
            run = await engine.run(run_id)
            text = end_of(await events_of(run)).text
            talk = Talk(engine, thread=run.thread_id)
            for message in messages:
                await talk.say(message)
            return text, await talk.standing()
    finally:
        await model.root_async_client.close()


def dies(text: str) -> Any:
    return by_turn([Reply(f"lost {text}", hang_after=1), text], repeat_last=True)


TO_U = [("created", "t"), ("step_completed", "t"), ("transition", "u", "t")]
TO_V = [*TO_U, ("step_completed", "u"), ("transition", "v", "u")]


async def test_a_process_that_is_killed_between_two_steps_loses_nothing(url: str) -> None:
    await save(url, THREE)
    async with ModelServer(speaking(**REPLIES)) as server:
        run_id = await killed(url, server, has(RunComplete), 1, "Ada", "flow:f")
        text, seen = await recovered(url, server, run_id, "next", "next")
    assert (text, seen) == ("Who are you?", TO_V)


async def test_a_process_that_is_killed_in_the_first_step_reports_nothing_twice(url: str) -> None:
    await save(url, THREE)
    async with ModelServer(speaking(**REPLIES | {"t": dies("Who?")})) as server:
        run_id = await killed(url, server, has(AgentChunk, "t"), 1, "Ada", "flow:f")
        text, seen = await recovered(url, server, run_id, "next", "next")
        assert asked(server) == ["t", "t", "u", "v"]
    assert (text, seen) == ("Who?", TO_V)


async def test_a_process_that_is_killed_in_a_later_step_reports_nothing_twice(url: str) -> None:
    await save(url, THREE)
    async with ModelServer(speaking(**REPLIES | {"u": dies("What?")})) as server:
        model: Any = chat_model("openai:gpt-4o-mini", base_url=server.base_url)
        async with opened(url, model=model) as engine:
            talk = Talk(engine)
            await talk.say("Ada")
        await model.root_async_client.close()
        assert talk.thread
        run_id = await killed(url, server, has(AgentChunk, "u"), 2, "next", "flow:f", talk.thread)
        text, seen = await recovered(url, server, run_id, "next")
    assert (text, seen) == ("What?", TO_V)


async def test_a_killed_run_goes_on_with_the_revision_that_it_began_with(url: str) -> None:
    await save(url, flow(a=says("a", question="One: {{ message }}")))
    async with ModelServer(speaking(a=dies("Yes."), b="No.")) as server:
        run_id = await killed(url, server, has(AgentChunk, "a"), 1, "Hello", "flow:f")
        await save(url, flow("i>b>o", b=says("b", question="Two: {{ message }}")))
        text, _ = await recovered(url, server, run_id, "again")
        assert [request.last_user for request in server.requests] == [
            "One: Hello",
            "One: Hello",
            "Two: again",
        ]
    assert text == "Yes."


async def test_a_process_that_is_killed_in_a_branch_repeats_that_branch_only(url: str) -> None:
    raw = flow(
        "i>p>a>b>s>o p>c>s",
        p=node("parallel"),
        s=node("synthesis"),
        **{name: says(name) for name in "abc"},
    )
    await save(url, raw)
    async with ModelServer(speaking(a="A.", b=dies("B."), c="C.", synthesis="All.")) as server:
        run_id = await killed(
            url,
            server,
            lambda events: has(AgentChunk, "b")(events) and has(AgentComplete, "c")(events),
            3,
            "Hello",
            "flow:f",
        )
        text, _ = await recovered(url, server, run_id)
        assert sorted(asked(server)) == ["a", "b", "b", "c", "other"]
    assert text == "All."


# ----------------------------------------------------------------------------------------- any flow

TYPES = ("condition", "bounded", "parallel", "template", "output")


def no_context(request: Request, emit: Callable[[AnyEvent], None]) -> None:
    """These flows need none."""


@UNHURRIED
@given(small_flows(TYPES), st.booleans())
async def test_any_flow_that_is_accepted_comes_to_an_output(
    raw: dict[str, Any], held: bool
) -> None:
    try:
        plan = check(raw, KINDS)
    except FlowInvalid:
        return
    make_context: Any = no_context
    served = compile_flow("flow:f@1", "f", plan, None, lambda: 0, make_context)
    start = served.make_input(Request(message="Hello", inputs={"held": held}), [], b"")
    state = await served.graph.ainvoke(start, {"recursion_limit": served.steps})
    outputs = {node.id for node in plan.flow.with_exits(Exits.NONE)}
    assert len(outputs & set(state["outputs"])) == 1


# ----------------------------------------------------------------------------------------- the team


@pytest.mark.parametrize(
    "question", ["What is the engine power?", "How often must the engine oil be changed?"]
)
async def test_the_team_as_a_flow_answers_like_the_team(
    url: str, handbook: Retriever, question: str
) -> None:
    async with opened(url, model=OfflineModel(seconds_per_word=0), retriever=handbook) as engine:
        team = end_of(await events_of(await engine.start(question)))
        own = end_of(await answered(engine, team_flow(TEAM), question))
    assert own.text == team.text
    assert (own.primary_agent, [hit.uri for hit in own.sources]) == (
        team.primary_agent,
        [hit.uri for hit in team.sources],
    )
    assert [
        name for name in own.execution_order if name in team.execution_order
    ] == team.execution_order
