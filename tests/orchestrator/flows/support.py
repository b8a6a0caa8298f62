"""Flows for tests, written as short as they can be: `flow("i>a>o", i=node("input"), …)`."""

from __future__ import annotations

import re
from typing import Any

import pytest

from orchestrator.flows.check import check
from orchestrator.flows.definition import FlowInvalid, FlowProblem

SPECIALISTS = ("specs", "maintenance")


def node(type_: str, **config: Any) -> dict[str, Any]:
    return {"type": type_, "config": config}


def flow(ways: str = "i>a>o", conditions: dict[str, str] | None = None, **nodes: Any) -> dict[str, Any]:
    """A definition: `ways` are chains such as `i>a>o c>a`, `conditions` are those of ways such as `c>a`.

    Its nodes are those that the ways mention, in that order. Unless something else is said, `i` is an input, `o` an
    output and `a` an agent.
    """
    edges = [(one.split(">")[at], one.split(">")[at + 1]) for one in ways.split() for at in range(one.count(">"))]
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
        check(raw, SPECIALISTS)
    assert caught.value.problems
    return caught.value.problems


def told(raw: Any) -> list[tuple[str, str]]:
    """Code and path of everything that is wrong."""
    problems = problems_of(raw)
    assert all(re.fullmatch(r"[A-Z_]+", one.code) and one.message for one in problems)
    return [(one.code, one.path) for one in problems]
