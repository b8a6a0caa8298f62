"""What graphs of every kind ask and how they get answers: interrupts, reviews, breakpoints."""

from __future__ import annotations

import operator
from typing import Annotated, Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import Send, interrupt
from typing_extensions import TypedDict

from antiphon import Engine, Run
from antiphon.orchestrator.errors import AnswerInvalid, AnswerUnclear
from antiphon.orchestrator.events import Interrupt, InterruptAnswered, RunComplete, ToolComplete
from antiphon.orchestrator.testing import ScriptedModel, tool_call
from tests.orchestrator.support import chain, events_of, of_type, opened

# -- reviews of tool calls -------------------------------------------------------------------------


class Desk:
    """Tools that note what they did."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def agent(self, *calls: Any, mode: str = "batched", **reviewed: Any) -> Any:
        """An agent that makes these calls in its first turn, of which some are reviewed."""

        @tool
        def mail(to: str) -> str:
            """Send a mail."""
            self.done.append(f"mailed {to}")
            return self.done[-1]

        @tool
        def delete(path: str) -> str:
            """Delete a file."""
            self.done.append(f"deleted {path}")
            return self.done[-1]

        middleware: Any = HumanInTheLoopMiddleware(interrupt_on=reviewed, interrupt_mode=mode)  # type: ignore[arg-type]
        model = ScriptedModel(turns=[calls, ["done"], ["done"]])
        return create_agent(model, [mail, delete], middleware=[middleware], name="agent")


def call(name: str, number: int = 0, **arguments: Any) -> Any:
    """The `number`-th tool call of a turn."""
    chunk = tool_call(name, f"call-{number}", **arguments)
    chunk.tool_call_chunks[0]["index"] = number
    return chunk


async def question_of(run: Run) -> Interrupt:
    """What a run waits with."""
    asked = (await events_of(run))[-1]
    assert isinstance(asked, Interrupt)
    return asked


MODES = pytest.mark.parametrize("mode", ["batched", "per_call"])


@MODES
@pytest.mark.parametrize(
    ("said", "done", "result"),
    [
        ("yes", ["mailed ada"], "mailed ada"),
        ("approve", ["mailed ada"], "mailed ada"),
        ("no", [], "User rejected the tool call for `mail`"),
        ("no, wrong address", [], "with reason: wrong address"),
        ("respond: sent by hand", [], "sent by hand"),
        ('edit {"to": "bob"}', ["mailed bob"], "mailed bob"),
        ({"type": "approve"}, ["mailed ada"], "mailed ada"),
    ],
)
async def test_a_review_is_answered_in_words_or_by_a_decision(
    url: str, mode: str, said: Any, done: list[str], result: str
) -> None:
    desk = Desk()
    async with opened(url, desk.agent(call("mail", to="ada"), mode=mode, mail=True)) as engine:
        run = await engine.start("mail ada")
        asked = await question_of(run)
        assert asked.question.endswith('mail(to="ada")')
        assert asked.options == ["approve", "edit", "reject", "respond"]
        await run.answer(said)
        assert await run.text() == "done"
        messages = [
            message
            for event in await events_of(run)
            for message in getattr(event, "outputs", {}).get("messages", [])
            if message["role"] == "tool"
        ]
    assert desk.done == done
    assert result in messages[-1]["content"]


@MODES
async def test_an_answer_that_decides_nothing_leaves_the_review_open(url: str, mode: str) -> None:
    desk = Desk()
    async with opened(url, desk.agent(call("mail", to="ada"), mode=mode, mail=True)) as engine:
        run = await engine.start("mail ada")
        asked = await question_of(run)
        for unclear in ("who is ada?", "maybe"):
            with pytest.raises(AnswerUnclear):
                await run.answer(unclear)
        for wrong in ({"decisions": []}, {"type": "delete"}, None, 5):
            with pytest.raises(AnswerInvalid):
                await run.answer(wrong)
        assert await question_of(run) == asked
        await run.answer("yes")
        assert await run.text() == "done"
    assert desk.done == ["mailed ada"]


async def test_several_calls_of_a_turn_are_decided_together(url: str) -> None:
    desk, calls = (
        Desk(),
        (call("mail", to="ada"), call("delete", 1, path="/"), call("mail", 2, to="bob")),
    )
    async with opened(
        url, desk.agent(*calls, mail=True, delete={"allowed_decisions": ["reject"]})
    ) as engine:
        run = await engine.start("go")
        asked = await question_of(run)
        assert asked.options == ["reject"]
        assert "2. " in asked.question
        with pytest.raises(AnswerUnclear):
            await run.answer("yes")
        await run.answer(
            {"decisions": [{"type": "approve"}, {"type": "reject"}, {"type": "approve"}]}
        )
        assert await run.text() == "done"
    assert sorted(desk.done) == ["mailed ada", "mailed bob"]


async def test_several_calls_of_a_turn_are_decided_one_by_one(url: str) -> None:
    desk, calls = Desk(), (call("mail", to="ada"), call("delete", 1, path="/"))
    async with opened(url, desk.agent(*calls, mode="per_call", mail=True, delete=True)) as engine:
        run = await engine.start("go")
        asked = await question_of(run)
        assert {one.call_id for one in asked.open} == {"call-0", "call-1"}
        deletes = next(one for one in asked.open if one.call_id == "call-1")
        await run.answer("no", deletes.id)
        asked = await question_of(run)
        assert [one.call_id for one in asked.open] == ["call-0"]
        await run.answer("yes")
        assert await run.text() == "done"
    assert desk.done == ["mailed ada"]


async def test_a_graph_that_asks_as_the_inbox_does_is_answered_as_the_inbox_would(url: str) -> None:
    config = {"allow_accept": True, "allow_ignore": True, "allow_respond": True, "allow_edit": True}

    async def asks(state: MessagesState) -> dict[str, Any]:
        action = {"action": "mail", "args": {"to": "ada"}}
        response = interrupt(
            [{"action_request": action, "config": config, "description": "Send it?"}]
        )[0]
        return {"messages": [AIMessage(f"{response['type']} {response['args']}")]}

    answers = {"yes": "accept None", "no": "ignore None", "make it short": "response make it short"}
    async with opened(url, chain(asks=asks)) as engine:
        for said, result in answers.items():
            run = await engine.start("go")
            assert (await question_of(run)).question == 'Send it?\n\nmail(to="ada")'
            await run.answer(said)
            assert await run.text() == result


# -- graphs of every kind --------------------------------------------------------------------------


async def answer_all(run: Run) -> list[Any]:
    """Answer the oldest question with itself until there is none; returns the questions."""
    asked = []
    while await run.wait() is None:
        asked.append((await question_of(run)).question)
        await run.answer(f"<{asked[-1]}>")
    return asked


class Shared(TypedDict, total=False):
    """A state that parallel nodes add to."""

    question: str
    got: Annotated[list[str], operator.add]
    answer: str


def join(state: Shared) -> Shared:
    return {"answer": " ".join(sorted(state["got"]))}


async def test_parallel_sends_of_one_node_each_get_their_own_answer(url: str) -> None:
    def asks(state: dict[str, Any]) -> dict[str, Any]:
        return {"got": [f"{state['name']}={interrupt(state['name'])}"]}

    graph = StateGraph(Shared).add_node("asks", asks).add_node("join", join)
    graph.add_conditional_edges(
        START, lambda state: [Send("asks", {"name": name}) for name in "abc"], ["asks"]
    )
    async with opened(url, graph.add_edge("asks", "join").compile(name="sends")) as engine:
        run = await engine.start("go")
        assert await answer_all(run) == ["a", "b", "c"]
        assert await run.text() == "a=<a> b=<b> c=<c>"


async def test_tasks_of_an_entrypoint_ask(url: str) -> None:
    ran = []

    @task
    async def prepares(name: str) -> str:
        ran.append(name)
        return f"{name}!"

    @task
    async def asks(name: str) -> str:
        return f"{name}={interrupt(name)}"

    @entrypoint()
    async def graph(question: str) -> str:
        await prepares(question)
        one, two = asks("one"), asks("two")
        return f"{await one} {await two} {interrupt('three')}"

    async with opened(url, graph) as engine:
        run = await engine.start("go")
        assert sorted(await answer_all(run)) == ["one", "three", "two"]
        assert await run.text() == "one=<one> two=<two> <three>"
    assert ran == ["go"], "what a task has returned is not computed again"


async def test_an_agent_inside_a_tool_asks_through_it(url: str) -> None:
    inner = chain("inner", asks=asking("sure?", "really?"))

    @tool
    async def consult(topic: str) -> str:
        """Ask somebody else."""
        return str((await inner.ainvoke({"messages": [("user", topic)]}))["messages"][-1].text)

    agent = create_agent(
        ScriptedModel(turns=[[tool_call("consult", "c-1", topic="x")], ["done"]]),
        [consult],
        name="agent",
    )
    async with opened(url, agent) as engine:
        run = await engine.start("go")
        assert (await question_of(run)).call_id == "c-1"
        assert await answer_all(run) == ["sure?", "really?"]
        assert of_type(await events_of(run), ToolComplete)[-1].output == "<sure?> <really?>"


def asking(*questions: str) -> Any:
    """A node that asks some questions one after another."""

    async def asks(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(" ".join([interrupt(question) for question in questions]))]}

    return asks


async def test_a_repeated_answer_is_one_answer(url: str) -> None:
    async with opened(url, chain(asks=asking("one?", "two?"))) as engine:
        run = await engine.start("go")
        await run.wait()
        for _ in range(2):
            await engine.answer(run.id, "yes", idempotency_key="key")
            assert (await question_of(run)).question == "two?"
        await run.answer("no")
        assert await run.text() == "yes no"
        assert len(of_type(await events_of(run), InterruptAnswered)) == 2


async def test_a_run_that_waits_can_be_cancelled(url: str) -> None:
    async with opened(url, chain(asks=asking("one?"))) as engine:
        run = await engine.start("go")
        await run.wait()
        await run.cancel()
        assert await run.status() == "cancelled"
        again = await engine.start("go", thread_id=run.thread_id)
        assert again.id != run.id
        await question_of(again)


# -- breakpoints -----------------------------------------------------------------------------------


class Letters:
    """A graph that drafts a letter and sends it; it stops in between."""

    def __init__(self, **stops: Any) -> None:
        self.sent: list[str] = []

        async def draft(state: MessagesState) -> dict[str, Any]:
            return {"messages": [AIMessage("Dear Bob")]}

        async def send(state: MessagesState) -> dict[str, Any]:
            self.sent.append(str(state["messages"][-1].text))
            return {"messages": [AIMessage("sent")]}

        graph = StateGraph(MessagesState).add_node(draft).add_node(send)
        self.builder = graph.add_edge(START, "draft").add_edge("draft", "send")
        self.graph = self.builder.compile(name="letters", **stops)


STOPS = pytest.mark.parametrize(
    "stops", [{"interrupt_before": ["send"]}, {"interrupt_after": ["draft"]}]
)


async def stopped(engine: Engine) -> tuple[Run, Interrupt]:
    run = await engine.start("write to Bob")
    return run, await question_of(run)


@STOPS
async def test_a_breakpoint_shows_what_comes_next_and_the_draft(url: str, stops: Any) -> None:
    async with opened(url, Letters(**stops).graph) as engine:
        run, asked = await stopped(engine)
        shown = (await engine.messages(run.thread_id))[-1].content
    assert asked.value == {
        "next": ["send"],
        "state": {"messages": {"role": "ai", "content": "Dear Bob"}},
    }
    assert shown == "Dear Bob\n\nThe graph has stopped before `send`. Shall it go on?", (
        "the draft once"
    )


@STOPS
async def test_a_yes_goes_on_and_other_words_do_not(url: str, stops: Any) -> None:
    letters = Letters(**stops)
    async with opened(url, letters.graph) as engine:
        run, asked = await stopped(engine)
        for unclear in ("yes but do not send", "maybe", "Who is Bob?", None, {}):
            with pytest.raises(AnswerUnclear):
                await run.answer(unclear)
        assert (letters.sent, await question_of(run)) == ([], asked)
        await run.answer("go on")
        assert await run.text() == "sent"
    assert letters.sent == ["Dear Bob"]


@STOPS
@pytest.mark.parametrize("said", ["no, stop, do not send!", False])
async def test_a_no_ends_the_run_and_nothing_more_is_executed(
    url: str, stops: Any, said: Any
) -> None:
    letters = Letters(**stops)
    async with opened(url, letters.graph) as engine:
        run, _ = await stopped(engine)
        await run.answer(said)
        assert isinstance(end := await run.wait(), RunComplete)
        assert end.text == "Stopped before `send`."
        messages = [message.content for message in await engine.messages(run.thread_id)]
        again = await engine.start("write to Bob", thread_id=run.thread_id)
        assert again.id != run.id
        await question_of(again)
    assert letters.sent == []
    assert messages[-2:] == [
        "no, stop, do not send!" if said else "false",
        "Stopped before `send`.",
    ]


async def test_the_tools_that_would_be_called_are_shown(url: str) -> None:
    async def model(state: MessagesState) -> dict[str, Any]:
        return {
            "messages": [
                AIMessage("", tool_calls=[{"name": "mail", "args": {"to": "bob"}, "id": "1"}])
            ]
        }

    async def tools(state: MessagesState) -> dict[str, Any]:
        return {}

    graph = (
        StateGraph(MessagesState)
        .add_sequence([("model", model), ("tools", tools)])
        .add_edge(START, "model")
    )
    async with opened(url, graph.compile(name="tools", interrupt_before=["tools"])) as engine:
        _, asked = await stopped(engine)
    assert asked.value["state"]["messages"]["tool_calls"] == [
        {"name": "mail", "args": {"to": "bob"}, "id": "1"}
    ]
    assert asked.text.startswith('mail({"to":"bob"})\n\n')


async def test_a_breakpoint_inside_a_subgraph_shows_its_own_state(url: str) -> None:
    letters = Letters(interrupt_before=["send"])
    async with opened(url, chain(outer=letters.graph)) as engine:
        run, asked = await stopped(engine)
        assert asked.value == {
            "next": ["send"],
            "state": {"messages": {"role": "ai", "content": "Dear Bob"}},
        }
        await run.answer("no")
        assert await run.text() == "Stopped before `send`."
    assert letters.sent == []
