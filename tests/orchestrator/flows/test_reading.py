"""Reading definitions: each broken rule is reported with its code and its place."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.orchestrator.flows.check import check
from antiphon.orchestrator.flows.definition import (
    BOUNDS,
    DEPTH,
    EDGES,
    ERRORS,
    NODES,
    SIZE,
    VALUES,
    FlowInvalid,
    pointer,
)
from antiphon.orchestrator.flows.kinds import KINDS
from antiphon.orchestrator.flows.reading import read_flow
from tests.orchestrator.flows.support import SPECIALISTS, codes_and_paths, flow, node, problems_of


def deep(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def with_config(**config: Any) -> dict[str, Any]:
    return flow(a=node("agent", **({"prompt": "x"} | config)))


def edges(*more: Any) -> dict[str, Any]:
    return flow() | {"edges": [*flow()["edges"], *more]}


def nodes(*more: Any) -> dict[str, Any]:
    return flow() | {"nodes": [*flow()["nodes"], *more]}


WRONG: dict[str, tuple[Any, str, str]] = {
    "no object": ([], "WRONG_TYPE", ""),
    "nothing": (None, "WRONG_TYPE", ""),
    "no nodes": ({"edges": []}, "WRONG_TYPE", "/nodes"),
    "nodes as an object": ({"nodes": {}, "edges": []}, "WRONG_TYPE", "/nodes"),
    "edges as a text": ({"nodes": [], "edges": "a"}, "WRONG_TYPE", "/edges"),
    "a name that is a number": (flow() | {"name": 7}, "WRONG_TYPE", "/name"),
    "a name that is too long": (flow() | {"name": "x" * 201}, "WRONG_TYPE", "/name"),
    "too many nodes": (flow() | {"nodes": [{}] * (NODES + 1)}, "TOO_LARGE", "/nodes"),
    "too many edges": (flow() | {"edges": [{}] * (EDGES + 1)}, "TOO_LARGE", "/edges"),
    "too many values": (flow() | {"colours": [1] * VALUES}, "TOO_LARGE", "/colours"),
    "too many characters": (flow() | {"notes": "x" * SIZE}, "TOO_LARGE", "/notes"),
    "too many characters in keys": (flow() | {"notes": {"x" * SIZE: 1}}, "TOO_LARGE", "/notes"),
    "too many levels": (flow() | {"x": deep(DEPTH)}, "TOO_LARGE", "/x" + "/0" * (DEPTH - 1)),
    "a number that is too large": (flow() | {"x": [1, 2**63]}, "TOO_LARGE", "/x/1"),
    "a number that is too small": (flow() | {"x": -(2**63)}, "TOO_LARGE", "/x"),
    "a number that is infinite": (flow() | {"x": float("inf")}, "TOO_LARGE", "/x"),
    "a number that is none": (flow() | {"x": float("nan")}, "TOO_LARGE", "/x"),
    "a lone surrogate": (flow() | {"x": "\ud800"}, "BAD_TEXT", "/x"),
    "a NUL": (flow() | {"x": ["a", "b\0"]}, "BAD_TEXT", "/x/1"),
    "a lone surrogate in a key": (flow() | {"x": {"\udfff": 1}}, "BAD_TEXT", "/x"),
    "a key that is no text": (flow() | {"x": {1: 1}}, "BAD_TEXT", "/x"),
    "a node that is a text": (nodes("a"), "WRONG_TYPE", "/nodes/3"),
    "a node without an id": (nodes({"type": "agent"}), "BAD_ID", "/nodes/3/id"),
    "an id that is a number": (nodes({"id": 1, "type": "agent"}), "BAD_ID", "/nodes/3/id"),
    "an id with a slash": (nodes({"id": "a/b", "type": "agent"}), "BAD_ID", "/nodes/3/id"),
    "an id with a line break": (nodes({"id": "a\n", "type": "agent"}), "BAD_ID", "/nodes/3/id"),
    "an id with a letter of another alphabet": (
        nodes({"id": "é", "type": "agent"}),
        "BAD_ID",
        "/nodes/3/id",
    ),
    "an id that is too long": (nodes({"id": "a" * 65, "type": "agent"}), "BAD_ID", "/nodes/3/id"),
    "an empty id": (nodes({"id": "", "type": "agent"}), "BAD_ID", "/nodes/3/id"),
    "a node without a type": (nodes({"id": "x"}), "UNKNOWN_TYPE", "/nodes/3/type"),
    "an unknown type": (nodes({"id": "x", "type": "python"}), "UNKNOWN_TYPE", "/nodes/3/type"),
    "a type that is a list": (nodes({"id": "x", "type": []}), "UNKNOWN_TYPE", "/nodes/3/type"),
    "a type of Python's": (
        nodes({"id": "x", "type": "__class__"}),
        "UNKNOWN_TYPE",
        "/nodes/3/type",
    ),
    "a node's name that is a list": (
        nodes({"id": "x", "type": "agent", "name": []}),
        "WRONG_TYPE",
        "/nodes/3/name",
    ),
    "a duplicate id": (nodes({"id": "a", "type": "parallel"}), "DUPLICATE_ID", "/nodes/3/id"),
    "a configuration that is a list": (
        flow(o={"type": "output", "config": []}),
        "BAD_CONFIG",
        "/nodes/2/config",
    ),
    "a configuration that is false": (
        flow(o={"type": "output", "config": False}),
        "BAD_CONFIG",
        "/nodes/2/config",
    ),
    "a misspelt setting": (with_config(promt="x"), "BAD_CONFIG", "/nodes/1/config"),
    "a setting of Python's": (with_config(__class__="x"), "BAD_CONFIG", "/nodes/1/config"),
    "a setting of the wrong type": (
        with_config(question=1),
        "BAD_CONFIG",
        "/nodes/1/config/question",
    ),
    "a fraction of a token": (with_config(tokens=1.5), "BAD_CONFIG", "/nodes/1/config/tokens"),
    "a truth for a number": (with_config(tokens=True), "BAD_CONFIG", "/nodes/1/config/tokens"),
    "a text for a number": (with_config(seconds="5"), "BAD_CONFIG", "/nodes/1/config/seconds"),
    "a missing setting": (flow(a=node("template")), "BAD_CONFIG", "/nodes/1/config"),
    "an unknown tool": (flow(a=node("tool", tool="shell")), "BAD_CONFIG", "/nodes/1/config/tool"),
    "an argument that is a number": (
        flow(a=node("tool", tool="count_words", arguments={"text": 1})),
        "BAD_CONFIG",
        "/nodes/1/config/arguments",
    ),
    "a class without a name": (
        flow(a=node("classifier", classes=[{"name": "x"}, {}])),
        "BAD_CONFIG",
        "/nodes/1/config/classes/1",
    ),
    "an example that is a number": (
        flow(a=node("classifier", classes=[{"name": "x", "examples": ["a", 1]}])),
        "BAD_CONFIG",
        "/nodes/1/config/classes/0/examples/1",
    ),
    "an edge that is a list": (edges([]), "WRONG_TYPE", "/edges/2"),
    "an edge from nowhere": (
        edges({"source": "x", "target": "o"}),
        "UNKNOWN_NODE",
        "/edges/2/source",
    ),
    "an edge to nowhere": (
        edges({"source": "i", "target": "__end__"}),
        "UNKNOWN_NODE",
        "/edges/2/target",
    ),
    "an edge to a number": (edges({"source": "i", "target": 1}), "UNKNOWN_NODE", "/edges/2/target"),
    "a condition that is true": (
        edges({"source": "i", "target": "o", "condition": True}),
        "WRONG_TYPE",
        "/edges/2/condition",
    ),
}


@pytest.mark.parametrize(("raw", "code", "path"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_read_is_reported_with_its_place(raw: Any, code: str, path: str) -> None:
    assert codes_and_paths(raw) == [(code, path)]


@pytest.mark.parametrize(("field", "bounds"), BOUNDS.items(), ids=BOUNDS)
@pytest.mark.parametrize("outside", [-1, 1], ids=["too small", "too large"])
def test_numbers_have_bounds(field: str, bounds: tuple[float, float], outside: int) -> None:
    least, most = bounds
    value = least - 1 if outside < 0 else most + 1
    raw = flow(
        "i>a>o" if field != "max_rounds" else "i>a>c>o",
        **({"c": node("condition", max_rounds=value)} if field == "max_rounds" else {}),
        a=node("agent", prompt="x", **({field: value} if field != "max_rounds" else {})),
    )
    [problem] = problems_of(raw)
    assert (problem.code, problem.path.rpartition("/")[2]) == ("BAD_CONFIG", field)
    assert (problem.node, problem.message) == (
        "c" if field == "max_rounds" else "a",
        f"{field} must be {least:g} to {most:g}.",
    )


def test_all_problems_are_reported_at_once_in_their_order() -> None:
    raw = nodes(*({"id": f"x{number}", "type": "y"} for number in range(12))) | {"name": 1}
    raw["edges"] = [{"source": "x", "target": "y"}]
    assert codes_and_paths(raw) == [
        ("UNKNOWN_NODE", "/edges/0/source"),
        ("UNKNOWN_NODE", "/edges/0/target"),
        ("WRONG_TYPE", "/name"),
        *(("UNKNOWN_TYPE", f"/nodes/{index}/type") for index in range(3, 15)),
    ]


def test_no_more_problems_are_reported_than_people_read() -> None:
    assert len(problems_of({"nodes": [1] * NODES, "edges": [1] * EDGES})) == ERRORS


def test_a_message_does_not_grow_with_what_is_wrong() -> None:
    for raw in (
        with_config(**{"k" * 10_000: 1}),
        with_config(agent="x" * 10_000),
        nodes({"id": "x" * 10_000}),
    ):
        [problem] = problems_of(raw)
        assert len(problem.message) < 300


def test_the_error_itself_names_the_first_problems() -> None:
    with pytest.raises(FlowInvalid, match=r"/nodes: This must be a list\."):
        check({}, KINDS, SPECIALISTS)


def test_what_the_editor_keeps_is_not_looked_at() -> None:
    raw = flow()
    raw["viewport"] = {"x": 1.5, "zoom": None}
    raw["nodes"][1] |= {
        "position": {"x": 1, "y": 2},
        "data": {"label": "A"},
        "config": {"prompt": "x"},
    }
    raw["edges"][0] |= {"id": "e1", "animated": True, "condition": None}
    check(raw, KINDS)


CONFIGURED = {"approval": {"question": "?"}, "step": {"goal": "!"}}


ALIASES = [(alias, type_) for type_, kind in KINDS.items() for alias in kind.aliases]


@pytest.mark.parametrize(("alias", "type_"), ALIASES)
def test_types_have_other_names(alias: str, type_: str) -> None:
    raw = {"nodes": [{"id": "x", "type": alias, "config": CONFIGURED.get(type_)}]}
    flow, problems = read_flow(raw, KINDS)
    assert problems == []
    assert flow.nodes["x"].type == type_
    assert isinstance(flow.nodes["x"].config, KINDS[type_].config)


def test_a_node_without_a_name_is_called_by_its_id() -> None:
    plan = check(
        flow(
            a={"type": "agent", "config": {"prompt": "x"}, "name": ""},
            o={"type": "output", "name": "End"},
        ),
        KINDS,
    )
    assert [node.name for node in plan.flow.nodes.values()] == ["i", "a", "End"]


def test_a_pointer_escapes_what_it_must() -> None:
    assert pointer("a/b~c") == "a~1b~0c"
