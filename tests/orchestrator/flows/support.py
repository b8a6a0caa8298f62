"""Flows for tests, written as short as they can be: `flow("i>a>o", i=node("input"), …)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import strategies as st

from antiphon import Engine
from antiphon.orchestrator.events import AnyEvent, RunComplete
from antiphon.orchestrator.flows.check import check
from antiphon.orchestrator.flows.definition import FlowInvalid, FlowProblem
from antiphon.orchestrator.flows.kinds import KINDS
from antiphon.orchestrator.team.prompts import CLASSIFY, SYNTHESIS
from tests.orchestrator.support import begin, events_of, shown_answer
from tests.support.model_server import ModelServer, ReplyLike, Script, by_agent

SPECIALISTS = ("specs", "maintenance")


def node(type_: str, **config: Any) -> dict[str, Any]:
    return {"type": type_, "config": config}


def flow(
    ways: str = "i>a>o", conditions: dict[str, str] | None = None, **nodes: Any
) -> dict[str, Any]:
    """A definition: `ways` are chains such as `i>a>o c>a`, `conditions` are those of ways such as `c>a`.

    Its nodes are those that the ways mention, in that order. Unless something else is said, `i` is an input, `o` an
    output and `a` an agent.
    """
    edges = [
        (one.split(">")[at], one.split(">")[at + 1])
        for one in ways.split()
        for at in range(one.count(">"))
    ]
    known = {"i": node("input"), "a": node("agent", prompt="Be brief."), "o": node("output")}
    mentioned = dict.fromkeys(id_ for edge in edges for id_ in edge)
    given = known | nodes
    held = conditions or {}
    return {
        "name": "Flow",
        "nodes": [{"id": id_, **given[id_]} for id_ in mentioned],
        "edges": [
            {"source": source, "target": target}
            | ({"condition": held[f"{source}>{target}"]} if f"{source}>{target}" in held else {})
            for source, target in edges
        ],
    }


def problems_of(raw: Any) -> list[FlowProblem]:
    with pytest.raises(FlowInvalid) as caught:
        check(raw, KINDS, SPECIALISTS)
    assert caught.value.problems
    return caught.value.problems


def codes_and_paths(raw: Any) -> list[tuple[str, str]]:
    """Code and path of everything that is wrong."""
    problems = problems_of(raw)
    assert all(re.fullmatch(r"[A-Z_]+", one.code) and one.message for one in problems)
    return [(one.code, one.path) for one in problems]


def says(role: str, **config: Any) -> dict[str, Any]:
    """An agent that a script knows by a word of its prompt."""
    return node("agent", prompt=f"You are {role}.", **config)


def speaking(**replies: ReplyLike) -> Script:
    """A script for flows: what is said where the prompt has `You are NAME.`, or the goal of a step is `Do NAME.`"""
    keys = {f"You are {name}.": reply for name, reply in replies.items()}
    keys |= {f"Do {name}.": reply for name, reply in replies.items()}
    return by_agent(
        keys
        | {
            CLASSIFY: replies.get("classifier", "{}"),
            SYNTHESIS: replies.get("synthesis", "Combined."),
        }
    )


def asked(server: ModelServer) -> list[str]:
    """Who asked the model, in order."""
    found = [re.search(r"(?:You are|Do) (\w+)\.", request.system) for request in server.requests]
    return [one[1] if one else "other" for one in found]


async def answered(
    engine: Engine, raw: Any, message: str = "Hello", **request: Any
) -> list[AnyEvent]:
    """Save a flow and run it once; its events."""
    assert engine.flows
    await engine.flows.save(raw, "local", "f")
    return await events_of(await begin(engine, message, graph="flow:f", **request))


def end_of(events: list[AnyEvent]) -> RunComplete:
    """How a run ended that answered; what was shown as its answer is its text, and nothing else was."""
    end = events[-1]
    assert isinstance(end, RunComplete), end
    assert shown_answer(events) == end.text
    return end


TYPES: dict[str, dict[str, Any]] = {
    "agent": node("agent", prompt="x"),
    "condition": node("condition"),
    "bounded": node("condition", max_rounds=2),
    "step": node("step", goal="x"),
    "approval": node("approval", question="?"),
    "parallel": node("parallel"),
    "template": node("template", template="x"),
    "output": node("output", text="x"),
}


@st.composite
def small_flows(draw: st.DrawFn, types: Sequence[str] = tuple(TYPES)) -> dict[str, Any]:
    """Flows of a few nodes, of which many can be executed and many cannot."""
    ids = [f"n{number}" for number in range(draw(st.integers(1, 6)))]
    kinds = {id_: draw(st.sampled_from(types)) for id_ in ids}
    raw = {"nodes": [{"id": "i", **node("input")}], "edges": [{"source": "i", "target": "n0"}]}
    for id_, kind in kinds.items():
        raw["nodes"].append({"id": id_, **TYPES[kind]})
        targets = draw(st.lists(st.sampled_from([*ids]), min_size=1, max_size=3, unique=True))
        for at, target in enumerate(targets if kind != "output" else []):
            plain = kind == "parallel" or at == len(targets) - 1
            raw["edges"].append(
                {"source": id_, "target": target}
                | ({} if plain else {"condition": 'inputs["held"]'})
            )
    reached: set[str] = set()
    waiting = ["i"]
    while waiting:
        if (one := waiting.pop()) not in reached:
            reached.add(one)
            waiting += [edge["target"] for edge in raw["edges"] if edge["source"] == one]
    return {
        "nodes": [one for one in raw["nodes"] if one["id"] in reached],
        "edges": [edge for edge in raw["edges"] if edge["source"] in reached],
    }
