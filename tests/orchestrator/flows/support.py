"""Flows for tests, in a short notation: `flow("i>a>o", i=node("input"), …)`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
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
    """Return a definition from chains of edges such as `i>a>o c>a`, and conditions by edge (`c>a`).

    The nodes are those in the chains, in that order. By default `i` is an input, `o` an output and
    `a` an agent.
    """
    chains = [chain.split(">") for chain in ways.split()]
    pairs = [pair for chain in chains for pair in pairwise(chain)]
    defaults = {"i": node("input"), "a": node("agent", prompt="Be brief."), "o": node("output")}
    configured = defaults | nodes
    edges = []
    for source, target in pairs:
        condition = (conditions or {}).get(f"{source}>{target}")
        held = {} if condition is None else {"condition": condition}
        edges.append({"source": source, "target": target, **held})
    ids = dict.fromkeys(id_ for pair in pairs for id_ in pair)
    return {
        "name": "Flow",
        "nodes": [{"id": id_, **configured[id_]} for id_ in ids],
        "edges": edges,
    }


def problems_of(raw: Any) -> list[FlowProblem]:
    with pytest.raises(FlowInvalid) as caught:
        check(raw, KINDS, SPECIALISTS)
    assert caught.value.problems
    return caught.value.problems


def codes_and_paths(raw: Any) -> list[tuple[str, str]]:
    """Return the code and the path of each problem."""
    problems = problems_of(raw)
    for problem in problems:
        assert re.fullmatch(r"[A-Z_]+", problem.code)
        assert problem.message
    return [(problem.code, problem.path) for problem in problems]


def says(role: str, **config: Any) -> dict[str, Any]:
    """Return an agent that a script recognises by a word of its prompt."""
    return node("agent", prompt=f"You are {role}.", **config)


def speaking(**replies: ReplyLike) -> Script:
    """Return a script: replies to prompts with `You are NAME.` and to steps with `Do NAME.`"""
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
    """Return which nodes asked the model, in order."""
    name = re.compile(r"(?:You are|Do) (\w+)\.")
    matches = [name.search(request.system) for request in server.requests]
    return [match[1] if match else "other" for match in matches]


async def answered(
    engine: Engine, raw: Any, message: str = "Hello", **request: Any
) -> list[AnyEvent]:
    """Save a flow, run it once, and return its events."""
    assert engine.flows
    await engine.flows.save(raw, "local", "f")
    return await events_of(await begin(engine, message, graph="flow:f", **request))


def end_of(events: list[AnyEvent]) -> RunComplete:
    """Return the end of a run that answered. Only its text was shown as the answer."""
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
            condition = {} if plain else {"condition": 'inputs["held"]'}
            raw["edges"].append({"source": id_, "target": target, **condition})
    return _reachable(raw)


def _reachable(raw: dict[str, Any]) -> dict[str, Any]:
    """Return a definition without the nodes that no path from the input leads to."""
    reached: set[str] = set()
    waiting = ["i"]
    while waiting:
        id_ = waiting.pop()
        if id_ not in reached:
            reached.add(id_)
            waiting += [edge["target"] for edge in raw["edges"] if edge["source"] == id_]
    return {
        "nodes": [raw_node for raw_node in raw["nodes"] if raw_node["id"] in reached],
        "edges": [edge for edge in raw["edges"] if edge["source"] in reached],
    }
