"""Each kind of node, in flows that a real engine runs with a model at a real endpoint."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from antiphon.orchestrator.events import (
    AgentComplete,
    AgentStart,
    Interaction,
    Interrupt,
    RunComplete,
    RunError,
    Sources,
    ToolComplete,
    ToolStart,
)
from antiphon.orchestrator.profiles import Profile
from antiphon.orchestrator.request import HistoryMessage
from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.team.prompts import UNAIDED, specialist_prompt
from tests.orchestrator.flows.support import answered, asked, end_of, flow, node, says, speaking
from tests.orchestrator.support import (
    FAILS,
    Knowledge,
    events_of,
    of_type,
    opened,
    served_team,
    spoken,
)
from tests.support.model_server import Reply, by_turn

AGENTS = {name: says(name) for name in "abcd"}


def started(events: list[Any]) -> list[str]:
    return [event.agent for event in of_type(events, AgentStart)]


def outputs(events: list[Any]) -> dict[str, Any]:
    """Return the last output of each node, from the log."""
    return {
        event.agent: event.outputs["outputs"][event.agent]
        for event in of_type(events, AgentComplete)
        if event.agent in event.outputs.get("outputs", {})
    }


# ---------------------------------------------------------------------------------- those who speak


async def test_an_agent_answers(url: str) -> None:
    async with served_team(url, speaking(a="Hello to you.")) as (server, engine):
        end = end_of(
            await answered(
                engine, flow(a=says("a", question="{{ message }}, {{ upper(message) }}!"))
            )
        )
    assert (end.text, end.primary_agent, end.execution_order) == (
        "Hello to you.",
        "a",
        ["i", "a", "o"],
    )
    assert server.requests[0].last_user == "Hello, HELLO!"


async def test_a_specialist_of_the_team_brings_its_own_prompt(url: str) -> None:
    async with served_team(url, "Yes.") as (server, engine):
        end_of(await answered(engine, flow(a=node("agent", agent="specs", prompt="Be brief."))))
    assert specialist_prompt(TEAM["specs"]) + "\nBe brief." in server.requests[0].system
    assert server.requests[0].system.count(UNAIDED) == 1


async def test_agents_one_after_another_pass_their_texts_on_and_only_the_last_one_answers(
    url: str,
) -> None:
    raw = flow("i>a>b>o", a=says("a"), b=says("b", question='Improve: {{ outputs["a"] }}'))
    async with served_team(url, speaking(a="A draft.", b="An answer.")) as (server, engine):
        events = await answered(engine, raw)
    assert end_of(events).text == "An answer."
    assert list(spoken(events, "draft").values()) == ["A draft."]
    assert server.requests[1].last_user == "Improve: A draft."


async def test_a_template_answers_without_a_model(url: str) -> None:
    raw = flow(
        "i>t>o", t=node("template", template='{{ outputs["i"] }} has {{ words(message) }} words 🦊')
    )
    async with served_team(url, FAILS) as (server, engine):
        assert end_of(await answered(engine, raw, "one two")).text == "one two has 2 words 🦊"
    assert server.requests == []


async def test_an_output_with_a_text_answers_with_it_and_earlier_texts_are_drafts(url: str) -> None:
    raw = flow(a=says("a"), o=node("output", text='<<{{ outputs["a"] }}>>'))
    async with served_team(url, speaking(a="Words.")) as (_, engine):
        events = await answered(engine, raw)
    assert (end_of(events).text, end_of(events).primary_agent) == ("<<Words.>>", "o")
    assert list(spoken(events, "draft").values()) == ["Words."]


async def test_an_output_after_a_condition_repeats_the_last_text(url: str) -> None:
    raw = flow("i>a>c>o c>b>o", {"c>b": "False"}, **AGENTS | {"c": node("condition")})
    async with served_team(url, speaking(a="Words.")) as (_, engine):
        events = await answered(engine, raw)
    assert (end_of(events).text, started(events)) == ("Words.", ["i", "a", "c", "o"])


async def test_a_synthesis_receives_the_last_text_of_each_agent(url: str) -> None:
    raw = flow(
        "i>p>a>s>o p>b>s",
        p=node("parallel"),
        s=node("synthesis", question="All of {{ message }}"),
        **AGENTS,
    )
    async with served_team(url, speaking(a="One <b>.", b="Two.", synthesis="Both.")) as (
        server,
        engine,
    ):
        events = await answered(engine, raw)
    assert (end_of(events).text, end_of(events).primary_agent) == ("Both.", "s")
    asking = server.requests[-1]
    assert asking.last_user == "All of Hello"
    assert asking.system.count("<draft") == 2
    assert "One &lt;b&gt;." in asking.system
    assert "Two." in asking.system
    assert [event.role for event in of_type(events, AgentStart) if event.agent == "s"] == [
        "synthesis"
    ]


async def test_a_synthesis_may_have_a_prompt_of_its_own(url: str) -> None:
    raw = flow("i>a>s>o", a=says("a"), s=node("synthesis", prompt="You are judge."))
    async with served_team(url, speaking(a="One.", judge="Guilty.")) as (server, engine):
        assert end_of(await answered(engine, raw)).text == "Guilty."
    assert asked(server) == ["a", "judge"]


# --------------------------------------------------------------------------------------------- ways


@pytest.mark.parametrize(("message", "by"), [("oil", "b"), ("brakes", "c"), ("tyres", "d")])
async def test_a_condition_goes_the_first_way_that_holds(url: str, message: str, by: str) -> None:
    ways = {"k>b": 'contains(message, "oil")', "k>c": 'message == "brakes" or message == "oil"'}
    raw = flow("i>k>b>o k>c>o k>d>o", ways, k=node("condition"), **AGENTS)
    async with served_team(url, speaking(b="b.", c="c.", d="d.")) as (_, engine):
        end = end_of(await answered(engine, raw, message))
    assert (end.text, end.execution_order) == (f"{by}.", ["i", "k", by, "o"])


@pytest.mark.parametrize(("wanted", "rounds"), [(1, 1), (2, 2), (9, 4)])
async def test_a_loop_ends_when_its_condition_does_not_hold_or_its_rounds_are_used_up(
    url: str, wanted: int, rounds: int
) -> None:
    condition = {"k>a": f'not contains(outputs["a"], "{wanted}")'}
    raw = flow("i>a>k>o k>a", condition, k=node("condition", max_rounds=3), **AGENTS)
    replies = by_turn([f"Draft {number}." for number in range(1, 9)])
    async with served_team(url, speaking(a=replies)) as (server, engine):
        end = end_of(await answered(engine, raw))
    assert (end.text, asked(server)) == (f"Draft {rounds}.", ["a"] * rounds)


async def test_a_loop_of_many_rounds_comes_to_its_end(url: str) -> None:
    inner = {
        "t": node("template", template="x"),
        "k": node("condition", max_rounds=20),
        "l": node("condition", max_rounds=20),
    }
    raw = flow("i>t>k>l>o k>t l>t", {"k>t": "True", "l>t": "True"}, **inner)
    async with served_team(url, FAILS) as (_, engine):
        events = await answered(engine, raw)
    assert end_of(events).text == "x"
    assert Counter(started(events))["t"] == 41


async def test_a_classifier_chooses_a_class_that_ways_can_ask_for(url: str) -> None:
    classes = [{"name": "one", "description": "First."}, {"name": "two", "examples": ["Second?"]}]
    raw = flow(
        "i>k>a>o k>b>o",
        {"k>b": 'outputs["k"] == "two"'},
        k=node("classifier", classes=classes, text="About {{ message }}"),
        **AGENTS,
    )
    decision = json.dumps({"primary": "two", "supporting": [], "confidence": 0.9, "parts": []})
    async with served_team(url, speaking(classifier=decision, a="a.", b="b.")) as (server, engine):
        events = await answered(engine, raw)
    assert (end_of(events).text, outputs(events)["i"]) == ("b.", "Hello")
    assert server.requests[0].last_user == "About Hello"
    assert "Second?" in server.requests[0].system
    [routed] = [event for event in of_type(events, Interaction) if event.kind == "route"]
    assert (routed.source, routed.target, routed.query) == ("k", "two", "About Hello")


async def test_a_classifier_whose_model_replies_with_nonsense_goes_by_words(url: str) -> None:
    classes = [
        {"name": "oil", "examples": ["When is the oil changed?"]},
        {"name": "paint", "examples": ["Which red?"]},
    ]
    raw = flow("i>k>o", k=node("classifier", classes=classes))
    async with served_team(url, speaking(classifier="{}")) as (_, engine):
        assert end_of(await answered(engine, raw, "How old is the oil?")).text == "oil"


# ------------------------------------------------------------------------------------ parallel ways


async def test_branches_of_different_lengths_join_once(url: str) -> None:
    raw = flow("i>p>a>b>c>s>o p>d>s", p=node("parallel"), s=node("synthesis"), **AGENTS)
    async with served_team(url, speaking(**dict.fromkeys("abcd", "x."))) as (server, engine):
        events = await answered(engine, raw)
    end_of(events)
    assert Counter(started(events)) == dict.fromkeys(["i", "p", "a", "b", "c", "d", "s", "o"], 1)
    assert server.requests[-1].system.count("<draft") == 4


async def test_branches_run_at_the_same_time(url: str) -> None:
    raw = flow("i>p>a>s>o p>b>s", p=node("parallel"), s=node("synthesis"), **AGENTS)
    async with served_team(
        url, speaking(a=Reply("x", hang_after=0), b=Reply("y", hang_after=0))
    ) as (server, engine):
        assert engine.flows
        await engine.flows.save(raw, "local", "f")
        run = await engine.start("Hello", graph="flow:f")
        await server.wait_requests(2)
        await run.cancel()
        await run.wait()


NESTED = {
    "inside each other": "i>p>q>a>r>b>s>o q>c>r p>d>s",
    "inside each other, with one end": "i>p>q>a>s>o q>b>s p>d>c>s",
    "one after the other": "i>p>a>q>c>s>o p>b>q q>d>s",
    "with a way that is no node": "i>p>a>b>c>d>s>o p>s",
}


@pytest.mark.parametrize("ways", NESTED.values(), ids=NESTED)
async def test_parallel_nodes_may_stand_anywhere_and_every_node_runs_once(
    url: str, ways: str
) -> None:
    inner = {
        "p": node("parallel"),
        "q": node("parallel"),
        "r": node("template", template="r"),
        "s": node("synthesis"),
    }
    raw = flow(ways, **inner, **AGENTS)
    async with served_team(url, speaking(**dict.fromkeys("abcd", "x."))) as (_, engine):
        events = await answered(engine, raw)
    end_of(events)
    assert set(Counter(started(events)).values()) == {1}
    assert started(events)[-2:] == ["s", "o"]
    assert set(started(events)) == {raw_node["id"] for raw_node in raw["nodes"]}


async def test_a_branch_may_have_conditions_and_loops_and_still_joins_once(url: str) -> None:
    raw = flow(
        "i>p>a>k>c>l>s>o k>d>l l>a p>b>s",
        {"k>d": 'message == "d"', "l>a": "True"},
        p=node("parallel"),
        k=node("condition"),
        l=node("condition", max_rounds=2),
        s=node("synthesis"),
        **AGENTS,
    )
    async with served_team(url, speaking(**dict.fromkeys("abcd", "x."))) as (_, engine):
        events = await answered(engine, raw, "d")
    end_of(events)
    counts = Counter(started(events))
    assert (counts["a"], counts["d"], counts["c"], counts["b"], counts["s"], counts["o"]) == (
        3,
        3,
        0,
        1,
        1,
        1,
    )


async def test_branches_in_a_loop_join_in_every_round(url: str) -> None:
    raw = flow(
        "i>p>a>s>k>o p>b>s k>p",
        {"k>p": "True"},
        p=node("parallel"),
        s=node("synthesis"),
        k=node("condition", max_rounds=2),
        **AGENTS,
    )
    async with served_team(
        url, speaking(a="x.", b="y.", synthesis=by_turn(["1.", "2.", "3."]))
    ) as (_, engine):
        events = await answered(engine, raw)
    assert end_of(events).text == "3."
    assert Counter(started(events)) == {"i": 1, "o": 1, "p": 3, "a": 3, "b": 3, "s": 3, "k": 3}


async def test_branches_that_end_in_an_output_are_put_together_by_its_text(url: str) -> None:
    raw = flow(
        "i>p>a>o p>b>c>o",
        p=node("parallel"),
        o=node("output", text='{{ outputs["a"] }} {{ outputs["c"] }}'),
        **AGENTS,
    )
    async with served_team(url, speaking(a="A.", b="B.", c="C.")) as (_, engine):
        events = await answered(engine, raw)
    assert (end_of(events).text, end_of(events).primary_agent) == ("A. C.", "o")


# --------------------------------------------------------------------------------- knowledge, tools


async def test_the_passages_of_a_retriever_are_the_sources_of_later_agents(url: str) -> None:
    raw = flow("i>r>a>b>o", r=node("retriever", query="{{ message }} oil"), **AGENTS)
    script = speaking(a="x.", b="It is 5 l [oil.md].")
    async with served_team(url, script, retriever=Knowledge(oil="Five litres.")) as (
        server,
        engine,
    ):
        events = await answered(engine, raw, "Which")
    assert [hit.uri for hit in end_of(events).sources] == ["oil.md"]
    assert [event.query for event in of_type(events, Sources)] == ["Which oil"]
    assert all(request.system.count("Five litres.") == 1 for request in server.requests)


TOOLS = [
    ("calculate", {"expression": "{{ message }} * 2"}, "21", "42"),
    ("calculate", {"expression": "{{ message }}"}, "__import__('os')", "cannot be worked out"),
    ("calculate", {"expression": "9**9"}, "x", "cannot be worked out"),
    ("count_words", {"text": "{{ message }}"}, "one two  three", "3"),
    ("search", {"query": "{{ message }}"}, "oil", "[oil.md] Five litres."),
    ("today", {}, "x", "1970-01-02"),
]


@pytest.mark.parametrize(("tool", "arguments", "message", "output"), TOOLS)
async def test_a_tool_is_called_with_its_arguments(
    url: str, tool: str, arguments: dict[str, str], message: str, output: str
) -> None:
    raw = flow("i>t>o", t=node("tool", tool=tool, arguments=arguments))
    options = {"retriever": Knowledge(oil="Five litres."), "clock": lambda: 24 * 3600 * 1000}
    async with served_team(url, FAILS, **options) as (_, engine):
        events = await answered(engine, raw, message)
    assert end_of(events).text.startswith(output)
    [start], [complete] = of_type(events, ToolStart), of_type(events, ToolComplete)
    assert (start.name, start.span, start.call_id) == (tool, complete.span, complete.call_id)
    assert not arguments or set(start.args) == set(arguments)
    assert complete.output == end_of(events).text


# ------------------------------------------------------------------------------------------- humans

APPROVED = flow(
    "i>a>h>k>b>o k>c>o",
    {"k>b": 'outputs["h"] == "yes"'},
    h=node("approval", question='Send "{{ outputs["a"] }}"?', options=["yes", "no"]),
    k=node("condition"),
    **AGENTS,
)
PARTS = {"a": "A draft.", "b": "Sent.", "c": "Dropped."}


@pytest.mark.parametrize(
    ("answer", "text"), [("yes", "Sent."), ("no", "Dropped."), ({"because": 1}, "Dropped.")]
)
async def test_an_approval_asks_and_goes_on_with_the_answer(
    url: str, answer: Any, text: str
) -> None:
    async with served_team(url, speaking(**PARTS)) as (server, engine):
        events = await answered(engine, APPROVED)
        [question] = of_type(events, Interrupt)
        assert events[-1] == question
        assert (question.question, question.options) == ('Send "A draft."?', ["yes", "no"])
        run = await engine.run(await run_id_of(engine))
        await run.answer(answer)
        end = end_of(await events_of(run))
    assert end.text == text
    assert asked(server) == ["a", "b" if text == "Sent." else "c"]


async def run_id_of(engine: Any) -> str:
    """The only run that there is."""
    [thread] = await engine.threads()
    run_id: str = (await engine.database.read(thread.id, 0, 1))[0].run_id
    return run_id


async def test_the_next_message_answers_an_approval_also_after_the_engine_was_closed(
    url: str,
) -> None:
    async with served_team(url, speaking(**PARTS)) as (_, engine):
        await answered(engine, APPROVED)
    async with served_team(url, speaking(**PARTS)) as (server, engine):
        [thread] = await engine.threads()
        run = await engine.start("yes", graph="flow:f", thread_id=thread.id)
        end = end_of(await events_of(run))
        assert (end.text, asked(server)) == ("Sent.", ["b"])
        assert [
            (message.role, message.content) for message in await engine.messages(thread.id)
        ] == [
            ("user", "Hello"),
            ("assistant", 'Send "A draft."?'),
            ("user", "yes"),
            ("assistant", "Sent."),
        ]


# ------------------------------------------------------------------------------------ what is given


async def test_inputs_of_the_request_reach_expressions_and_prompts(url: str) -> None:
    raw = flow(
        "i>a>o i>b>o",
        {"i>b": 'inputs["b"]["n"] > 2'},
        a=says("a"),
        b=says("b", question='{{ inputs["b"]["to"] }}?'),
    )
    async with served_team(url, speaking(a="a.", b="b.")) as (server, engine):
        assert end_of(await answered(engine, raw, inputs={"b": {"n": 3, "to": "Ada"}})).text == "b."
        assert server.requests[0].last_user == "Ada?"
        assert end_of(await answered(engine, raw, inputs={"b": {"n": 1}})).text == "a."


async def test_a_clients_own_history_replaces_the_threads(url: str) -> None:
    history = [
        HistoryMessage(role="user", content="Earlier?"),
        HistoryMessage(role="assistant", content="Yes."),
    ]
    async with served_team(url, speaking(a="a.")) as (server, engine):
        await answered(engine, flow(a=says("a")), history=history)
        run = await engine.start("One", graph="flow:f")
        await run.wait()
        await (await engine.start("Two", graph="flow:f", thread_id=run.thread_id)).wait()
    shown = [
        [(m["role"], m["content"]) for m in request.messages[1:]] for request in server.requests
    ]
    assert shown[0] == [("user", "Earlier?"), ("assistant", "Yes."), ("user", "Hello")]
    assert shown[2] == [("user", "One"), ("assistant", "a."), ("user", "Two")]


async def test_agents_steps_and_syntheses_receive_the_users_profile(url: str) -> None:
    raw = flow("i>a>s>o", a=says("a"), s=node("synthesis"))
    steps = flow("i>t", t=node("step", goal="Do t."))
    async with served_team(url, speaking(a="a.", t="t.")) as (server, engine):
        await engine.save_profile("local", Profile(name="Ada", facts=("drives a van",)))
        end_of(await answered(engine, raw))
        end_of(await answered(engine, steps))
    assert len(server.requests) == 3
    assert all(request.system.count("drives a van") == 1 for request in server.requests)


@pytest.mark.parametrize(
    "raw",
    [
        flow("i>a>o i>b>o", {"i>b": 'inputs["x"] > 2'}, **AGENTS),
        flow(a=says("a", question="{{ 1 / (len(message) - 5) }}")),
        flow("i>t>o", t=node("template", template="{{ message * 9999 }}")),
        flow(o=node("output", text='{{ number("x") + 1 }}')),
        flow("i>k>o", k=node("tool", tool="count_words", arguments={"text": "{{ -message }}"})),
        flow(
            "i>t>u",
            {"t>u": "1"},
            t=node("step", goal='{{ steps["t"] + 1 }}'),
            u=node("step", goal="x"),
        ),
    ],
)
async def test_an_expression_without_a_value_ends_the_run_with_a_clean_text(
    url: str, raw: Any
) -> None:
    async with served_team(url, speaking(a="a.", b="b.")) as (_, engine):
        end = (await answered(engine, raw))[-1]
    assert isinstance(end, RunError)
    assert (end.code, end.retryable) == ("FLOW_FAILED", False)
    assert end.message.endswith("has no value for this message.")


async def test_a_model_that_fails_ends_the_run_with_its_error(url: str) -> None:
    async with served_team(url, speaking(a="a.", b=FAILS)) as (_, engine):
        end = (await answered(engine, flow("i>a>b>o", **AGENTS)))[-1]
    assert isinstance(end, RunError)
    assert end.code == "MODEL_REFUSED"


# ------------------------------------------------------------------------------------------- limits


async def test_an_agent_that_never_stops_is_cut_after_two_sentences(url: str) -> None:
    endless = Reply(
        chunks=["One is 2", ".4 m", "etres. ", "Tw", "o! Th", "ree is more. "]
        + ["And on. "] * 10_000,
        delay=0.001,
    )
    async with served_team(url, speaking(a=endless)) as (server, engine):
        events = await answered(engine, flow(a=says("a", sentences=2)))
        request = await server.wait_ended(0)
    assert end_of(events).text == "One is 2.4 metres. Two!"
    [complete] = [event for event in of_type(events, AgentComplete) if event.agent == "a"]
    assert complete.finish_reason == "max_sentences"
    assert request.closed_by_client
    assert request.tokens_sent < 5_000


@pytest.mark.parametrize(("kind", "tokens"), [("agent", 5), ("synthesis", 3), ("step", 4)])
async def test_a_model_that_never_stops_is_cut_after_its_tokens_and_not_in_a_word(
    url: str, kind: str, tokens: int
) -> None:
    nodes = {
        "agent": flow(a=says("a", tokens=tokens)),
        "synthesis": flow(a=node("synthesis", prompt="You are a.", tokens=tokens)),
        "step": flow("i>a", a=node("step", goal="Do a.", tokens=tokens, sentences=100)),
    }
    endless = Reply(chunks=["wo", "rd "] * 20_000, delay=0.001)
    async with served_team(url, speaking(a=endless)) as (server, engine):
        events = await answered(engine, nodes[kind])
        request = await server.wait_ended(0)
    assert end_of(events).text == "".join((["wo", "rd "] * 9)[: tokens + tokens % 2]).rstrip(
        " " if tokens % 2 else ""
    )
    [complete] = [event for event in of_type(events, AgentComplete) if event.agent == "a"]
    assert complete.finish_reason == "max_tokens"
    assert request.closed_by_client
    assert (
        request.body["max_tokens" if "max_tokens" in request.body else "max_completion_tokens"]
        == tokens
    )


async def test_a_reader_of_the_log_alone_sees_the_same(url: str) -> None:
    """Another engine reads the same events. (`opened` checks this on closing, in all tests.)"""
    async with served_team(url, speaking(a="a.")) as (_, engine):
        events = await answered(engine, flow())
        run_id = await run_id_of(engine)
    async with opened(url) as engine:
        assert await events_of(await engine.run(run_id)) == events
    assert isinstance(events[-1], RunComplete)
