"""One execution of one run: questions to humans, the graph's input, and the run's end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt
from pydantic import AfterValidator, BaseModel

from antiphon.orchestrator.engine import execution
from antiphon.orchestrator.errors import AnswerInvalid, UnknownQuestion
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Interrupt,
    InterruptAnswered,
    RunAttempt,
    RunCancelled,
    RunComplete,
)
from antiphon.orchestrator.testing import ScriptedModel
from tests.orchestrator.support import (
    about_agents,
    chain,
    events_of,
    of_type,
    opened,
    reach,
    saying,
    shown_answer,
    side_by_side,
)


def asking_human(*questions: Any) -> Any:
    """Return a node that asks questions one after another, and returns the answers."""

    async def asks(state: MessagesState) -> dict[str, Any]:
        answers = [interrupt(question) for question in questions]
        return {"messages": [AIMessage(f"heard {', '.join(map(str, answers))}")]}

    return asks


# -- questions to a human --------------------------------------------------------------------------


async def test_a_question_pauses_the_run_and_the_answer_goes_on_with_it(url: str) -> None:
    async with opened(url, chain(asks=asking_human("sure?"))) as engine:
        run = await engine.start("do it")
        question = (await events_of(run))[-1]
        assert isinstance(question, Interrupt)
        assert await run.status() == "interrupted"
        await engine.answer(run.id, "yes")
        events = await events_of(run)
        record = await engine.record(run.id, "local")
    assert about_agents(events) == [
        AgentStart(span="1.1", agent="asks"),
        AgentComplete(span="1.1", agent="asks", text="", finish_reason="interrupted"),
        Interrupt(id=question.id, question="sure?", value="sure?"),
        of_type(events, InterruptAnswered)[0],
        AgentStart(span="2.1", agent="asks"),
        AgentChunk(span="2.1", agent="asks", text="heard yes"),
        AgentComplete(span="2.1", agent="asks", text="heard yes"),
    ]
    assert (events[-1].text, record.status, record.attempt) == ("heard yes", "completed", 1)


async def test_a_question_survives_the_engine_and_a_completed_node_is_not_run_again(
    url: str,
) -> None:
    runs = 0

    async def prepares(state: MessagesState) -> dict[str, Any]:
        nonlocal runs
        runs += 1
        return {}

    graph = chain(prepares=prepares, asks=asking_human("sure?"))
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        assert await run.wait() is None
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        assert await run.text() == "sure?"
        await run.answer("yes")
        assert await run.text() == "heard yes"
    assert runs == 1


async def test_an_answer_survives_the_engine_too(url: str) -> None:
    gate, heard = asyncio.Event(), asyncio.Event()

    async def asks(state: MessagesState) -> dict[str, Any]:
        answer = interrupt("sure?")
        heard.set()
        await gate.wait()
        return {"messages": [AIMessage(f"heard {answer}")]}

    graph = chain(asks=asks)
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        await run.wait()
        await run.answer("yes")
        await heard.wait()
    gate.set()
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        assert await run.text() == "heard yes"
        assert len(of_type(await events_of(run), Interrupt)) == 1


async def test_a_run_that_was_answered_and_stopped_goes_on_behind_the_answer(url: str) -> None:
    gate, waits = asyncio.Event(), asyncio.Event()

    async def pauses(state: MessagesState) -> dict[str, Any]:
        waits.set()
        await gate.wait()
        return {}

    graph = chain(asks=asking_human("one?"), pauses=pauses, asks_again=asking_human("two?"))
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        await run.wait()
        await run.answer("first")
        await waits.wait()
    gate.set()
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        assert await run.text() == "two?", "the first answer does not answer the second question"
        await run.answer("second")
        assert await run.text() == "heard second"


async def test_questions_one_after_another_are_answered_one_by_one(url: str) -> None:
    async with opened(url, chain(asks=asking_human("one?", "two?", "three?"))) as engine:
        run = await engine.start("do it")
        for question, answer in {"one?": "1", "two?": "2", "three?": "3"}.items():
            assert await run.text() == question
            await run.answer(answer)
        assert await run.text() == "heard 1, 2, 3"
        answered = of_type(await events_of(run), InterruptAnswered)
        asked = of_type(await events_of(run), Interrupt)
    assert [event.id for event in answered] == [event.id for event in asked]


async def test_questions_asked_at_once_are_answered_together_by_their_ids(url: str) -> None:
    graph = side_by_side(left=asking_human("left?"), right=asking_human("right?"))
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        question = (await events_of(run))[-1]
        assert set(question.questions.values()) == {"left?", "right?"}
        await run.answer({id_: f"{text} yes" for id_, text in question.questions.items()})
        said = {event.text for event in of_type(await events_of(run), AgentComplete)}
    assert {"heard left? yes", "heard right? yes"} <= said


async def test_a_plain_answer_is_for_the_oldest_question_and_the_others_stay_open(url: str) -> None:
    graph = side_by_side(left=asking_human("left?"), right=asking_human("right?"))
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        first = (await events_of(run))[-1]
        assert [one.question for one in first.open] == ["left?", "right?"]
        await run.answer("yes")
        second = (await events_of(run))[-1]
        assert [(one.id, one.question) for one in second.open] == [(first.others[0].id, "right?")]
        await run.answer("no")
        said = [event.text for event in of_type(await events_of(run), AgentComplete) if event.text]
    assert said[:2] == ["heard yes", "heard no"]


async def test_an_answer_may_name_the_younger_question(url: str) -> None:
    graph = side_by_side(left=asking_human("left?"), right=asking_human("right?"))
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        left, right = (await events_of(run))[-1].open
        with pytest.raises(UnknownQuestion):
            await run.answer("yes", "0" * 32)
        await run.answer("yes", right.id)
        second = (await events_of(run))[-1]
        assert [one.id for one in second.open] == [left.id]
        with pytest.raises(UnknownQuestion):
            await run.answer("yes", right.id)
        await run.answer("no", left.id)
        events = await events_of(run)
    assert [event.resume for event in of_type(events, InterruptAnswered)] == [
        {right.id: "yes"},
        {left.id: "no"},
    ]


async def test_a_question_that_is_open_stays_the_oldest(url: str) -> None:
    graph = side_by_side(left=asking_human("left?", "left again?"), right=asking_human("right?"))
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        await run.answer("yes") if await run.wait() is None else None
        again = (await events_of(run))[-1]
    assert [one.question for one in again.open] == ["right?", "left again?"]


async def test_an_answer_is_not_given_to_the_next_question_of_its_node_after_a_restart(
    url: str,
) -> None:
    """The node has asked again, but the engine was closed before the question was stored."""
    gate, heard = asyncio.Event(), asyncio.Event()

    async def slow(state: MessagesState) -> dict[str, Any]:
        interrupt("slow?")
        heard.set()
        await gate.wait()
        return {}

    graph = side_by_side(asks=asking_human("pay?", "delete?"), slow=slow)
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        asked = (await events_of(run))[-1]
        await run.answer({one.id: "yes" for one in asked.open})
        await heard.wait()
    gate.set()
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        assert await run.text() == "delete?"
        await run.answer("no")
        said = [event.text for event in of_type(await events_of(run), AgentComplete)]
    assert "heard yes, no" in said


async def test_a_question_keeps_everything_that_the_graph_said_with_it(url: str) -> None:
    asked = {
        "question": "which?",
        "options": ["a", "b"],
        "schema": {"type": "string"},
        "note": {"to": [1, None]},
    }
    async with opened(url, chain(asks=asking_human(asked))) as engine:
        question = (await events_of(await engine.start("do it")))[-1]
    assert (question.question, question.options, question.schema) == (
        "which?",
        ["a", "b"],
        {"type": "string"},
    )
    assert question.value == asked
    assert question.text == 'which?\n\nnote: {"to":[1,null]}'


@pytest.mark.parametrize("value", [object(), threading.Lock(), lambda: 1])
async def test_a_question_that_cannot_be_stored_is_asked_all_the_same(url: str, value: Any) -> None:
    async with opened(url, chain(asks=asking_human({"question": "sure?", "odd": value}))) as engine:
        run = await engine.start("do it")
        asked = (await events_of(run))[-1]
        assert asked.question == "sure?"
        assert asked.value["odd"] == f"<{type(value).__name__}>"
    async with opened(url, chain(asks=asking_human({"question": "sure?", "odd": value}))) as engine:
        run = await engine.run(run.id)
        await run.answer("yes")
        assert await run.text() == "heard yes"


def no_thirteen(euros: int) -> int:
    """A rule that no JSON Schema can express."""
    if euros == 13:
        raise ValueError("not 13")
    return euros


class Amount(BaseModel):
    """The answer to a question with a schema."""

    euros: Annotated[int, AfterValidator(no_thirteen)]


def asking_amounts(*questions: str) -> Any:
    """A node that asks for amounts."""

    async def asks(state: MessagesState) -> dict[str, Any]:
        amounts = [interrupt(question, response_schema=Amount) for question in questions]
        return {"messages": [AIMessage(f"heard {[amount.euros for amount in amounts]}")]}

    return asks


async def test_an_answer_that_does_not_fit_its_schema_leaves_the_question_open(url: str) -> None:
    async with opened(url, chain(asks=asking_amounts("how much?"))) as engine:
        run = await engine.start("do it")
        asked = (await events_of(run))[-1]
        assert (asked.strict, asked.schema["required"]) == (True, ["euros"])
        for wrong in ("a lot", {"euros": "a lot"}, {}, 5, None, "{"):
            with pytest.raises(AnswerInvalid):
                await run.answer(wrong)
        assert await run.status() == "interrupted"
        await run.answer('{"euros": 5}')
        assert await run.text() == "heard [5]"


async def test_an_answer_that_the_graph_itself_refuses_is_asked_for_again(url: str) -> None:
    graph = side_by_side(
        asks=asking_amounts("how much?", "how many?"), beside=asking_human("sure?")
    )
    async with opened(url, graph) as engine:
        run = await engine.start("do it")
        first = (await events_of(run))[-1]
        await run.answer({first.id: {"euros": 13}, first.others[0].id: "yes"})
        again = (await events_of(run))[-1]
        assert ([one.id for one in again.open], again.reason) == ([first.id], "answer_refused")
        assert again.text == "The graph did not take that answer. Please answer again.\n\nhow much?"
        await run.answer({"euros": 5})
        assert (await events_of(run))[-1].text == "how many?"
        await run.answer({"euros": 6})
        said = [event.text for event in of_type(await events_of(run), AgentComplete) if event.text]
    assert set(said) == {"heard [5, 6]", "heard yes"}


@pytest.mark.parametrize("inside", ["a subgraph", "a call of a graph"])
async def test_a_question_from_deep_inside_reaches_the_human(url: str, inside: str) -> None:
    inner = chain("inner", asks=asking_human("sure?"))

    async def calls(state: MessagesState) -> dict[str, Any]:
        return {"messages": (await inner.ainvoke(state))["messages"][-1:]}

    async with opened(url, chain(outer=inner if inside == "a subgraph" else calls)) as engine:
        run = await engine.start("do it")
        assert await run.text() == "sure?"
        await run.answer("yes")
        assert await run.text() == "heard yes"
        starts = of_type(await events_of(run), AgentStart)
    assert [(start.span, start.agent, start.parent) for start in starts] == [
        ("1.1", "outer", None),
        ("1.2", "asks", "1.1"),
        ("2.1", "outer", None),
        ("2.2", "asks", "2.1"),
    ]


async def test_what_a_node_said_before_it_asked_is_not_shown_twice(url: str) -> None:
    model = ScriptedModel(turns=[["Let me ask. "]] * 2)

    async def asks(state: MessagesState) -> dict[str, Any]:
        said = await model.ainvoke("x")
        return {"messages": [AIMessage(said.text + interrupt("sure?"))]}

    async with opened(url, chain(asks=asks)) as engine:
        run = await engine.start("do it")
        await run.wait()
        await run.answer("yes")
        events = await events_of(run)
    assert shown_answer(events).count("Let me ask.") == 1


def stopping(**stops: Any) -> Any:
    """Return a graph with breakpoints, of three nodes that say their names."""
    names = ("one", "two", "three")
    graph = StateGraph(MessagesState).add_sequence([(name, saying(f"{name} ")) for name in names])
    return graph.add_edge(START, "one").compile(name="stops", **stops)


@pytest.mark.parametrize(
    ("stops", "times"),
    [
        ({"interrupt_before": ["two"]}, 1),
        ({"interrupt_after": ["one"]}, 1),
        ({"interrupt_before": "*"}, 3),
        ({"interrupt_before": ["two"], "interrupt_after": ["two"]}, 2),
    ],
)
async def test_a_run_stops_at_a_breakpoint_until_somebody_answers(
    url: str, stops: Any, times: int
) -> None:
    async with opened(url, stopping(**stops)) as engine:
        run = await engine.start("hello")
        for _ in range(times):
            asked = (await events_of(run))[-1]
            assert isinstance(asked, Interrupt)
            assert (asked.reason, asked.options) == ("breakpoint", ["yes", "no"])
            await run.answer("yes")
        events = await events_of(run)
    assert isinstance(events[-1], RunComplete)
    assert [start.agent for start in of_type(events, AgentStart)] == ["one", "two", "three"]


async def test_a_breakpoint_inside_a_subgraph_stops_the_run(url: str) -> None:
    async with opened(
        url, chain(outer=stopping(interrupt_before=["two"]), last=saying("last"))
    ) as engine:
        run = await engine.start("hello")
        assert await run.wait() is None
        await run.answer("continue")
        assert await run.text() == "last"
        names = [start.agent for start in of_type(await events_of(run), AgentStart)]
    assert names == ["outer", "one", "outer", "two", "three", "last"]


async def test_a_breakpoint_behind_an_answered_question_stops_the_run(url: str) -> None:
    async def asks(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(interrupt("sure?"))]}

    graph = StateGraph(MessagesState).add_sequence([("asks", asks), ("says", saying("done"))])
    compiled = graph.add_edge(START, "asks").compile(interrupt_before=["says"], name="both")
    async with opened(url, compiled) as engine:
        run = await engine.start("hello")
        for reason in ("input_required", "breakpoint"):
            assert (await events_of(run))[-1].reason == reason
            await run.answer("yes")
        assert await run.text() == "done"


# -- attempts --------------------------------------------------------------------------------------


async def test_a_completed_node_is_not_run_again_after_a_restart(url: str) -> None:
    gate, runs = asyncio.Event(), []

    async def first(state: MessagesState) -> dict[str, Any]:
        runs.append("first")
        return {"messages": [AIMessage("one")]}

    async def second(state: MessagesState) -> dict[str, Any]:
        runs.append("second")
        await gate.wait()
        return {"messages": [AIMessage("two")]}

    graph = chain(first=first, second=second)
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        await reach(run, lambda events: len(of_type(events, AgentStart)) == 2)
    gate.set()
    async with opened(url, graph) as engine:
        run = await engine.run(run.id)
        assert await run.text() == "two"
        events = await events_of(run)
    assert runs == ["first", "second", "second"]
    assert [(event.attempt, event.reason) for event in of_type(events, RunAttempt)] == [
        (2, "recovered"),
        (2, "no_answer"),
    ]


async def test_a_finished_branch_is_not_run_again_when_the_other_was_stopped(url: str) -> None:
    gate, runs = asyncio.Event(), []

    async def quick(state: MessagesState) -> dict[str, Any]:
        runs.append("quick")
        return {"messages": [AIMessage("quick")]}

    async def slow(state: MessagesState) -> dict[str, Any]:
        runs.append("slow")
        await gate.wait()
        return {"messages": [AIMessage("slow")]}

    graph = side_by_side(quick=quick, slow=slow)
    async with opened(url, graph) as engine:
        run = await engine.start("hello")
        await reach(run, lambda events: bool(of_type(events, AgentComplete)))
    gate.set()
    async with opened(url, graph) as engine:
        assert isinstance(await (await engine.run(run.id)).wait(), RunComplete)
    assert sorted(runs) == ["quick", "slow", "slow"]


# -- the end ---------------------------------------------------------------------------------------


async def test_an_answer_that_no_message_holds_is_what_was_said(url: str) -> None:
    async def speaks(state: MessagesState) -> dict[str, Any]:
        await ScriptedModel(turns=[["only ", "said"]]).ainvoke("x")
        return {}

    async with opened(url, chain(speaks=speaks)) as engine:
        run = await engine.start("hello")
        assert await run.text() == "only said"
        assert [message.content for message in await engine.messages(run.thread_id)] == [
            "hello",
            "only said",
        ]


# -- a graph that does not stop --------------------------------------------------------------------


@pytest.mark.parametrize("end", ["cancelled", "handed back"])
async def test_a_graph_that_catches_its_cancellation_is_left_behind(
    url: str, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr(execution, "STOP_SECONDS", 0.1)
    begun, released, over = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def goes_on(state: MessagesState) -> dict[str, Any]:
        begun.set()
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()
        over.set()
        return {"messages": [AIMessage("I went on")]}

    async with opened(url, chain(node=goes_on)) as engine:
        run = await engine.start("hello")
        await begun.wait()
        if end == "cancelled":
            run.cancel()
            assert isinstance((await events_of(run))[-1], RunCancelled)
            released.set()
            await over.wait()
            await asyncio.sleep(0.1)
            assert await run.status() == "cancelled", "what it does afterwards is fenced"
    released.set()
    if end == "handed back":
        async with opened(url, chain(node=goes_on)) as engine:
            assert await (await engine.run(run.id)).text() == "I went on"
