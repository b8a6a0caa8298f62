"""Stored flows: their owners, their revisions, and their names beside the server's graphs."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from antiphon import Engine
from antiphon.data import transactions
from antiphon.data.errors import IdempotencyConflict, NotFound
from antiphon.orchestrator.errors import BadRequest, UnknownGraph
from antiphon.orchestrator.flows.definition import SIZE, FlowInvalid
from antiphon.orchestrator.flows.language.text import to_json, to_yaml
from antiphon.orchestrator.flows.library import COMPILED, FlowLibrary
from antiphon.orchestrator.opening import open_library
from tests.orchestrator.flows.support import asked, end_of, flow, node, says, speaking
from tests.orchestrator.support import begin, events_of, opened, served_team

ONE, TWO = flow(a=says("one")), flow(a=says("two"))


def library(engine: Engine) -> FlowLibrary:
    assert engine.flows
    return engine.flows


async def answer(engine: Engine, user: str, graph: str = "flow:f") -> str:
    return end_of(await events_of(await engine.start("Hello", user=user, graph=graph))).text


# -------------------------------------------------------------------------------- drafts, published


async def test_the_owner_runs_the_draft_and_others_what_is_published(url: str) -> None:
    async with served_team(url, speaking(one="One.", two="Two.")) as (_, engine):
        flows = library(engine)
        await flows.save(ONE, "ada", "f")
        assert await answer(engine, "ada") == "One."
        with pytest.raises(UnknownGraph):
            await engine.start("Hello", user="eve", graph="flow:f")
        await flows.publish("f", "ada")
        assert (await flows.save(TWO, "ada", "f")).draft == 2
        assert (await answer(engine, "ada"), await answer(engine, "eve")) == ("Two.", "One.")
        await flows.publish("f", "ada")
        assert await answer(engine, "eve") == "Two."
        await flows.publish("f", "ada", published=False)
        with pytest.raises(UnknownGraph):
            await engine.start("Hello", user="eve", graph="flow:f")


async def test_a_deleted_flow_is_run_no_more(url: str) -> None:
    async with served_team(url, speaking(one="One.")) as (_, engine):
        await library(engine).save(ONE, "ada", "f")
        await library(engine).delete("f", "ada")
        with pytest.raises(UnknownGraph):
            await engine.start("Hello", user="ada", graph="flow:f")


@pytest.mark.parametrize(
    "name",
    ["flow:", "flow:f@1", "flow:f@2", "flow:none", "flow:../f", "flow:\0", "flow:" + "f" * 999],
)
async def test_only_a_flows_name_names_it(url: str, name: str) -> None:
    async with served_team(url, speaking(one="One.")) as (_, engine):
        await library(engine).save(ONE, "ada", "f")
        with pytest.raises(UnknownGraph):
            await engine.start("Hello", user="ada", graph=name)


async def test_a_revision_cannot_be_asked_for_around_its_owner(url: str) -> None:
    async with served_team(url, speaking(one="One.")) as (_, engine):
        await library(engine).save(ONE, "ada", "f")
        assert await answer(engine, "ada") == "One."  # it is compiled now
        with pytest.raises(UnknownGraph):
            await engine.start("Hello", user="eve", graph="flow:f@1")


async def test_flows_are_their_owners(url: str) -> None:
    async with opened(url) as engine:
        flows = library(engine)
        await flows.save(ONE, "ada", "f")
        for attempt in (
            flows.save(TWO, "eve", "f"),
            flows.publish("f", "eve"),
            flows.delete("f", "eve"),
            flows.record("f", "eve"),
            flows.definition("f", "eve"),
            flows.definition("none", "ada"),
            flows.definition("f", "ada", published=True),
        ):
            with pytest.raises(NotFound):
                await attempt
        assert await flows.mine("eve") == []
        assert [record.agent_id for record in await flows.mine("ada")] == ["f"]


# -------------------------------------------------------------------------------------- definitions


@pytest.mark.parametrize(
    "write", [lambda raw: raw, to_json, to_yaml, lambda raw: to_yaml(raw).encode()]
)
async def test_a_definition_is_kept_as_it_was_given(url: str, write: Any) -> None:
    raw = ONE | {"viewport": {"zoom": 1.5, "at": [0, -0.0, None]}, "emoji": "🦊\u2028"}
    async with open_library(url) as flows:
        record = await flows.save(write(raw), "ada")
        assert msgspec.json.encode(
            await flows.definition(record.agent_id, "ada")
        ) == msgspec.json.encode(raw)
        await flows.publish(record.agent_id, "ada")
        await flows.save(TWO, "ada", record.agent_id)
        assert await flows.definition(record.agent_id, "ada", published=True) == raw
        assert await flows.definition(record.agent_id, "ada") == TWO


async def test_what_cannot_be_run_is_not_kept(url: str) -> None:
    async with open_library(url) as flows:
        for wrong in ({}, "nodes: 1", b"\xff", None, {"nodes": object()}, ONE | {"x": object()}):
            with pytest.raises(FlowInvalid):
                await flows.save(wrong, "ada", "f")
        with pytest.raises(FlowInvalid) as caught:
            await flows.save(ONE | {"x": "é" * (SIZE - 2_000)}, "ada", "f")
        assert [problem.code for problem in caught.value.problems] == ["TOO_LARGE"]
        assert await flows.mine("ada") == []


@pytest.mark.parametrize("agent_id", ["team", "a/b", "a b", "é", "x" * 129, "f@1", "f\n", "flow:f"])
async def test_an_agent_id_must_fit_into_names_and_be_no_graphs(url: str, agent_id: str) -> None:
    async with open_library(url) as flows:
        with pytest.raises(BadRequest):
            await flows.save(ONE, "ada", agent_id)


async def test_problems_of_a_text_have_their_place_in_it(url: str) -> None:
    async with open_library(url) as flows:
        with pytest.raises(FlowInvalid) as caught:
            flows.check(to_yaml(flow(a=node("agent"))))
        [problem] = caught.value.problems
        assert (problem.path, problem.line, problem.column) == ("/nodes/1/config/prompt", 8, 11)
        with pytest.raises(FlowInvalid) as caught:
            flows.check(flow(a=node("agent")))
        assert caught.value.problems[0].line is None


async def test_the_team_can_be_copied(url: str) -> None:
    async with open_library(url) as flows:
        flows.check(flows.built_in())
        flows.check(to_yaml(flows.built_in()))
        flows.check(to_json(flows.built_in()))


# ----------------------------------------------------------------------------------- agents, graphs


async def test_an_agent_is_a_flow_or_a_graph_or_the_default_while_there_are_no_flows(
    url: str,
) -> None:
    async with opened(url) as engine:
        flows = library(engine)
        assert [await flows.agent(name, "ada") for name in ("f", "team")] == [None, "team"]
        await flows.save(ONE, "ada", "f")
        assert [await flows.agent(name, "ada") for name in ("f", "team")] == ["flow:f", "team"]
        assert await flows.agent("f", "eve") is None, "a draft is for its owner only"
        await flows.publish((await flows.save(ONE, "ada", "h")).agent_id, "ada")
        for name, user in (("f", "eve"), ("g", "ada")):
            with pytest.raises(NotFound):
                await flows.agent(name, user)


@pytest.mark.parametrize(
    "name", ["team", "flow:f", "flow:f@", "flow:f@0", "flow:f@2", "flow:f@1@1", "flow:f@9999999999"]
)
async def test_only_a_revision_is_a_graph(url: str, name: str) -> None:
    async with opened(url) as engine:
        await library(engine).save(ONE, "ada", "f")
        assert await library(engine).graph(name) is None
        graph = await library(engine).graph("flow:f@1")
        assert graph is not None
        assert graph is await library(engine).graph("flow:f@1")


async def test_graphs_are_compiled_anew_when_they_were_not_used_for_long(url: str) -> None:
    async with opened(url) as engine:
        flows = library(engine)
        await flows.save(flow("i>t>o", t=node("template", template="x")), "ada", "f")
        for _ in range(COMPILED):
            await flows.save(flow("i>t>o", t=node("template", template="x")), "ada", "f")
        kept = {
            revision: await flows.graph(f"flow:f@{revision}") for revision in range(1, COMPILED + 1)
        }
        assert await flows.graph("flow:f@1") is kept[1]
        await flows.graph(f"flow:f@{COMPILED + 1}")
        assert await flows.graph("flow:f@1") is kept[1]
        assert await flows.graph("flow:f@2") is not kept[2]


async def test_a_conversation_goes_on_with_the_draft_of_the_day(url: str) -> None:
    async with served_team(url, speaking(one="One.", two="Two.")) as (server, engine):
        await library(engine).save(ONE, "local", "f")
        run = await engine.start("Hello", graph="flow:f")
        await run.wait()
        await library(engine).save(TWO, "local", "f")
        again = await engine.start("Hello", graph="flow:f", thread_id=run.thread_id)
        assert await again.text() == "Two."
        assert (run.graph, again.graph) == ("flow:f@1", "flow:f@2")
        assert asked(server) == ["one", "two"]


async def test_a_run_whose_flow_is_refused_here_does_not_keep_others_from_recovery(
    url: str,
) -> None:
    """A release may be stricter than the one that stored the flow."""
    async with opened(url) as engine:
        await library(engine).save(ONE, "ada", "f")
        name = await library(engine).name_for("flow:f", "ada")
        assert name is not None
        await engine.database.write(
            transactions.save_flow, "f", "ada", b'{"nodes": [], "edges": []}', 1
        )
        assert await library(engine).graph("flow:f@2") is None
        assert await library(engine).graph(name) is not None


async def test_a_thread_that_was_made_for_a_flow_stays_with_it(url: str) -> None:
    async with opened(url) as engine:
        for name, goal in (("s1", "One?"), ("s2", "Two?")):
            await library(engine).save(steps(goal), "local", name)
        thread = await engine.create_thread(graph="flow:s1", idempotency_key="k")
        answers = []
        for graph in (None, "flow:s2", None):
            run = await engine.start("go", thread_id=thread.id, graph=graph)
            answers.append((run.graph, await run.text()))
        assert answers == [
            ("flow:s1@1", "One?"),
            ("flow:s2@1", "Two?"),
            ("flow:s1@1", "One? Next."),
        ]
        with pytest.raises(IdempotencyConflict):
            await engine.create_thread(graph="flow:s2", idempotency_key="k")


def steps(goal: str) -> dict[str, Any]:
    nodes = [
        {"id": "in", "type": "input"},
        {"id": "a", "type": "step", "config": {"goal": goal}},
        {"id": "b", "type": "step", "config": {"goal": f"{goal} Next."}},
    ]
    return {
        "nodes": nodes,
        "edges": [{"source": "in", "target": "a"}, {"source": "a", "target": "b"}],
    }


async def test_a_question_can_be_answered_after_its_flow_was_withdrawn(url: str) -> None:
    async with opened(url) as engine:
        await library(engine).save(asking(), "ada", "f")
        await library(engine).publish("f", "ada")
        run = await begin(engine, "hi", graph="flow:f", dialect="page", thread_name="1")
        assert await run.text() == "Really?"
        await library(engine).publish("f", "ada", published=False)
        answer = await begin(
            engine, "yes", graph="flow:f", dialect="page", thread_name="1", idempotency_key="k"
        )
        assert (answer.id, await answer.text()) == (run.id, "yes")
        again = await begin(
            engine, "yes", graph="flow:f", dialect="page", thread_name="1", idempotency_key="k"
        )
        assert (again.id, again.created) == (run.id, False)


def asking() -> dict[str, Any]:
    nodes = [
        {"id": "in", "type": "input"},
        {"id": "ask", "type": "approval", "config": {"question": "Really?"}},
        {"id": "out", "type": "output"},
    ]
    return {
        "nodes": nodes,
        "edges": [{"source": "in", "target": "ask"}, {"source": "ask", "target": "out"}],
    }


def nested(depth: int) -> Any:
    value: Any = "deep"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("value", [10**30, [[10**30]], nested(101)])
async def test_values_that_no_checkpoint_can_hold_are_refused(url: str, value: Any) -> None:
    async with opened(url) as engine:
        await library(engine).save(asking(), "local", "f")
        with pytest.raises(BadRequest):
            await engine.start("hi", graph="flow:f", inputs={"ask": {"x": value}})
        run = await engine.start("hi", graph="flow:f")
        await run.wait()
        with pytest.raises(BadRequest):
            await engine.answer(run.id, value)
        await run.answer("yes")
        assert await run.text() == "yes"
