"""Every rule for flows, hostile definitions, and what is true of all accepted flows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.flows.check import EXPRESSIONS, check
from antiphon.orchestrator.flows.definition import EDGES, NODES, FlowInvalid
from antiphon.orchestrator.flows.kinds import KINDS
from antiphon.orchestrator.flows.language.text import from_text, to_json, to_yaml
from antiphon.orchestrator.flows.plan import FlowPlan
from tests.orchestrator.flows.support import (
    SPECIALISTS,
    codes_and_paths,
    flow,
    node,
    problems_of,
    small_flows,
)
from tests.orchestrator.support import UNHURRIED

AGENT = node("agent", prompt="x")
AGENTS = {"b": AGENT, "c": AGENT, "d": AGENT}
PARALLEL = {"p": node("parallel"), **AGENTS, "s": node("synthesis")}
STEP = node("step", goal="Find out.")
APPROVAL = node("approval", question="Shall I?")
CLASSES = [{"name": "x"}, {"name": "y"}]

# --------------------------------------------------------------------------------------- every rule

WRONG: dict[str, tuple[Any, str, str]] = {
    "an agent with neither a prompt nor a name": (
        flow(a=node("agent")),
        "MISSING_INPUT",
        "/nodes/1/config/prompt",
    ),
    "an agent with a blank prompt": (
        flow(a=node("agent", prompt=" ")),
        "MISSING_INPUT",
        "/nodes/1/config/prompt",
    ),
    "an agent that the team does not have": (
        flow(a=node("agent", agent="__class__")),
        "UNKNOWN_AGENT",
        "/nodes/1/config/agent",
    ),
    "one class": (
        flow(a=node("classifier", classes=CLASSES[:1])),
        "MISSING_INPUT",
        "/nodes/1/config/classes",
    ),
    "too many classes": (
        flow(a=node("classifier", classes=[{"name": str(number)} for number in range(21)])),
        "MISSING_INPUT",
        "/nodes/1/config/classes",
    ),
    "two classes of one name": (
        flow(a=node("classifier", classes=[*CLASSES, {"name": "x"}])),
        "DUPLICATE_ID",
        "/nodes/1/config/classes",
    ),
    "a class with a blank name": (
        flow(a=node("classifier", classes=[*CLASSES, {"name": " "}])),
        "DUPLICATE_ID",
        "/nodes/1/config/classes",
    ),
    "a tool without its argument": (
        flow(a=node("tool", tool="search")),
        "MISSING_INPUT",
        "/nodes/1/config/arguments",
    ),
    "a tool with an argument too many": (
        flow(a=node("tool", tool="today", arguments={"zone": "UTC"})),
        "BAD_CONFIG",
        "/nodes/1/config/arguments",
    ),
    "no input": (flow("a>o"), "MISSING_INPUT", "/nodes"),
    "two inputs": (flow("i>a>o j>a", j=node("input")), "MISSING_INPUT", "/nodes/3"),
    "no output": (flow("i>a>b>a", b=APPROVAL), "MISSING_OUTPUT", "/nodes"),
    "a way into the input": (
        flow("i>a>c>o c>i", {"c>i": "turn"}, c=node("condition")),
        "BAD_EDGE",
        "/edges/3",
    ),
    "a way out of an output": (flow("i>a>o>a"), "BAD_EDGE", "/edges/2"),
    "the same way twice": (
        flow("i>a>o a>b>o a>b", {"a>b": "turn"}, b=AGENT),
        "DUPLICATE_EDGE",
        "/edges/4",
    ),
    "two ways without a condition": (flow("i>a>o a>b>o", b=AGENT), "BAD_EDGE", "/edges/2"),
    "no way that is left for all other cases": (
        flow("i>a>o", {"a>o": "turn"}),
        "DEAD_END",
        "/nodes/1",
    ),
    "no way on": (flow("i>c>o c>a", {"c>a": "turn"}, c=node("condition")), "DEAD_END", "/nodes/3"),
    "a condition after a parallel node": (
        flow("i>p>b>s>o p>c>s", {"p>c": "turn"}, **PARALLEL),
        "BAD_EDGE",
        "/edges/4",
    ),
    "a parallel node with one way": (
        flow("i>p>b>o", p=node("parallel"), b=AGENT),
        "BAD_EDGE",
        "/nodes/1",
    ),
    "a node that nothing leads to": (flow("i>a>o b>o", b=AGENT), "UNREACHABLE", "/nodes/3"),
    "an output without any text": (
        flow("i>r>o", r=node("retriever")),
        "MISSING_INPUT",
        "/nodes/2",
    ),
    "a cycle": (
        flow("i>a>c>o c>a", {"c>a": "turn"}, c=node("condition")),
        "UNBOUNDED_CYCLE",
        "/nodes/1",
    ),
    "a cycle without any condition": (
        flow("i>a>b>a i>o", {"i>o": "turn"}, b=AGENT, o=node("output", text="!")),
        "UNBOUNDED_CYCLE",
        "/nodes/1",
    ),
    "a way from a node to itself": (
        flow("i>a>o a>a", {"a>a": "turn"}),
        "UNBOUNDED_CYCLE",
        "/nodes/1",
    ),
    "a cycle through the way that max_rounds does not bound": (
        flow("i>a>c>o c>a", {"c>o": "turn"}, c=node("condition", max_rounds=3)),
        "UNBOUNDED_CYCLE",
        "/nodes/1",
    ),
    "a cycle beside one that is bounded": (
        flow(
            "i>a>c>b>o c>a b>a",
            {"c>a": "turn", "b>a": "turn"},
            c=node("condition", max_rounds=3),
            b=AGENT,
        ),
        "UNBOUNDED_CYCLE",
        "/nodes/1",
    ),
    "a step inside of a branch": (
        flow("i>p>b>s>o p>t>s", **PARALLEL | {"t": STEP}),
        "BAD_PARALLEL",
        "/nodes/5",
    ),
    "an approval inside of a branch": (
        flow("i>p>b>s>o p>t>s", **PARALLEL | {"t": APPROVAL}),
        "BAD_PARALLEL",
        "/nodes/5",
    ),
    "an output inside of a branch": (
        flow("i>p>b>s>o p>t>q", **PARALLEL | {"t": AGENT, "q": node("output")}),
        "BAD_PARALLEL",
        "/nodes/4",
    ),
    "branches that come together in an output without a text": (
        flow("i>p>b>o p>c>o", **PARALLEL),
        "BAD_PARALLEL",
        "/nodes/3",
    ),
    "branches that come together in two places": (
        flow("i>p>b>d>s>o p>c>d p>t>s", **PARALLEL | {"t": AGENT}),
        "BAD_PARALLEL",
        "/nodes/3",
    ),
    "a branch that begins again": (
        flow(
            "i>p>b>s>o p>c>s b>p",
            {"b>p": "turn"},
            **PARALLEL | {"b": node("condition", max_rounds=2)},
        ),
        "BAD_PARALLEL",
        "/nodes/1",
    ),
    "an edge into a branch from before it": (
        flow("i>p>b>s>o p>c>s i>b", {"i>b": "turn"}, **PARALLEL),
        "BAD_PARALLEL",
        "/edges/6",
    ),
    "an edge into a branch from after it": (
        flow(
            "i>p>b>s>k>o p>c>s k>b",
            {"k>b": "turn"},
            **PARALLEL | {"k": node("condition", max_rounds=2)},
        ),
        "BAD_PARALLEL",
        "/edges/7",
    ),
    "branches that never come together": (
        flow("i>p>b>t p>c>u", **PARALLEL | {"t": STEP, "u": STEP, "b": AGENT}),
        "BAD_PARALLEL",
        "/nodes/3",
    ),
    "an expression that cannot be read": (
        flow("i>a>o i>b>o", {"i>b": "1 +"}, b=AGENT),
        "BAD_EXPRESSION",
        "/edges/2/condition",
    ),
    "a template that cannot be read": (
        flow(a=node("agent", prompt="x {{ y }}")),
        "BAD_EXPRESSION",
        "/nodes/1/config/prompt",
    ),
    "an argument that cannot be read": (
        flow(a=node("tool", tool="count_words", arguments={"text": "{{"})),
        "BAD_EXPRESSION",
        "/nodes/1/config/arguments/text",
    ),
    "an output that no node has": (
        flow(a=node("agent", prompt='{{ outputs["b"] }}')),
        "MISSING_INPUT",
        "/nodes/1/config/prompt",
    ),
    "an output of a later node": (
        flow("i>a>b>o", a=node("agent", prompt='{{ outputs["b"] }}'), b=AGENT),
        "MISSING_INPUT",
        "/nodes/1/config/prompt",
    ),
    "an output of the node itself": (
        flow(a=node("agent", prompt='{{ outputs["a"] }}')),
        "MISSING_INPUT",
        "/nodes/1/config/prompt",
    ),
    "an output of a node on another way": (
        flow("i>a>o i>b>o", {"i>b": 'outputs["a"] == "x"'}, b=AGENT),
        "MISSING_INPUT",
        "/edges/2/condition",
    ),
}


@pytest.mark.parametrize(("raw", "code", "path"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_executed_is_reported_with_its_place(raw: Any, code: str, path: str) -> None:
    assert codes_and_paths(raw) == [(code, path)]


# ------------------------------------------------------------------------------ hostile definitions


def long_chain(count: int) -> dict[str, Any]:
    ids = [f"n{number}" for number in range(count)]
    return flow("i>" + ">".join(ids) + ">o", **dict.fromkeys(ids, AGENT))


def dense(type_: str, condition: str, **config: Any) -> dict[str, Any]:
    """Return a flow with as many edges and nodes as are allowed."""
    ids = [f"n{number}" for number in range(NODES - 2)]
    raw = flow("i>" + ">".join(ids) + ">o", **dict.fromkeys(ids, node(type_, **config)))
    pairs = [(source, target) for source in ids for target in ids if source != target]
    held = {"condition": condition} if condition else {}
    more = [{"source": source, "target": target, **held} for source, target in pairs]
    return raw | {"edges": [*raw["edges"], *more][:EDGES]}


def parallels() -> dict[str, Any]:
    """Return a flow of parallel nodes whose branches lead into each other."""
    ids = [f"n{number}" for number in range(NODES - 2)]
    ways = [
        f"{ids[at]}>{ids[to]}"
        for at in range(len(ids))
        for to in range(at + 1, min(at + 5, len(ids)))
    ]
    return flow(
        f"i>n0 {ids[-1]}>o {' '.join(ways[: EDGES - 2])}",
        **dict.fromkeys(ids[:-1], node("parallel")),
        **{ids[-1]: AGENT},
    )


def reading(count: int) -> str:
    return " and ".join(f'outputs["n{number}"]' for number in range(count))


TEN = "{{ 1 + " * 3
HOSTILE_VALUES: dict[str, Callable[[], Any]] = {
    "a text": lambda: "flow",
    "a number": lambda: 10**4000,
    "a hundred thousand nodes": lambda: {
        "nodes": [{"id": f"n{number}", "type": "agent"} for number in range(10**5)]
    },
    "a hundred thousand edges": lambda: (
        flow() | {"edges": [{"source": "i", "target": "o"}] * 10**5}
    ),
    "a million values beside them": lambda: flow() | {"x": [[0] * 1000] * 1000},
    "a giant text": lambda: flow(a=node("agent", prompt="x" * 10**7)),
    "a giant key": lambda: flow() | {"x" * 10**7: 1},
    "a giant number": lambda: flow() | {"x": 10**100_000},
    "many giant numbers": lambda: flow() | {"x": [2**62] * 4000 + [2**63]},
    "a thousand levels": lambda: flow() | {"x": nested(1000)},
    "wide and deep": lambda: flow() | {"x": [nested(20) for _ in range(200)]},
    "nodes of the wrong type": lambda: {"nodes": [[]] * NODES, "edges": [[]] * EDGES},
    "objects without anything": lambda: {"nodes": [{}] * NODES, "edges": [{}] * EDGES},
    "one id for all nodes": lambda: flow() | {"nodes": [{"id": "a", "type": "input"}] * NODES},
    "inputs only": lambda: {
        "nodes": [{"id": f"n{number}", "type": "input"} for number in range(NODES)]
    },
    "every node to every node": lambda: dense("agent", "", prompt="x"),
    "conditions between all nodes": lambda: dense("condition", "turn > 1"),
    "bounded conditions between all nodes that read what is not there": lambda: dense(
        "condition", reading(20) + " and x", max_rounds=1
    ),
    "cycles all over": lambda: dense("condition", reading(8), max_rounds=None),
    "parallel nodes only": parallels,
    "a hundred and twenty thousand characters of conditions": lambda: dense(
        "condition", "1+" * 49 + "1", max_rounds=20
    ),
    "a template of many placeholders": lambda: flow(a=node("agent", prompt="{{ message }}" * 51)),
    "many templates of many placeholders": lambda: flow(
        "i>a>b>c>d>o",
        **dict.fromkeys("abcd", node("agent", prompt=("{{" + "1+" * 49 + "1}}") * 50)),
    ),
    "a template of a million braces": lambda: flow(a=node("agent", prompt="{" * 19_999)),
    "placeholders inside placeholders": lambda: flow(a=node("agent", prompt=TEN * 500)),
    "settings of Python's": lambda: flow(
        a=node("agent", prompt="x", __class__={"__init__": {"__globals__": 1}})
    ),
    "a type of Python's": lambda: flow(a={"type": "__import__('os')", "config": {}}),
    "a specialist of Python's": lambda: flow(a=node("agent", agent="__dict__")),
    "an id of Python's that leads nowhere": lambda: (
        flow() | {"edges": [{"source": "__proto__", "target": "constructor"}]}
    ),
    "an argument whose name is a number": lambda: flow(
        a=node("tool", tool="today", arguments={"9" * 5000: "{{", "²": "{{"})
    ),
    "classes without end": lambda: flow(a=node("classifier", classes=CLASSES * 500)),
    "a surrogate where it hurts": lambda: (
        flow() | {"edges": [{"source": "\ud800", "target": "\udfff"}]}
    ),
    "a NUL where it hurts": lambda: flow(a=node("agent", prompt="x\0")),
}
HOSTILE_EXPRESSIONS = {
    "an attribute": "message.__class__",
    "an attribute of a text": "''.format",
    "a call": "__import__('os')",
    "a call of what was called": "len(message)()",
    "a lambda": "(lambda: 1)()",
    "a comprehension": "[x for x in outputs]",
    "a walrus": "(x := 1)",
    "an await": "await message",
    "a formatted text": "f'{message}'",
    "a power": "9**9**9",
    "a shift": "1 << 10**9",
    "a giant number": "9" * 400,
    "brackets": "(" * 200 + "1" + ")" * 200,
    "lists": "[" * 90 + "]" * 90,
    "a tower of minuses": "-" * 400 + "1",
    "a tower of nots": "not " * 120 + "1",
    "a star": "[*outputs]",
    "a slice": "message[::1]",
    "a dictionary": "{}[1]",
    "a subscript of Python's": "message[__class__]",
    "an unknown name": "open",
    "a statement": "import os",
    "two lines": "1\n2",
    "a backslash": "'\\N{BULLET}'",
    "a comment": "1 # 2",
    "an output that is not there": 'outputs["__class__"]',
    "too many characters": "1+" * 10_000 + "1",
}
HOSTILE_TEXTS: dict[str, str | bytes] = {
    "nothing": "",
    "a bomb of aliases": "a: &a [x,x]\n"
    + "".join(f"b{n}: &b{n} [{'*a,' * 9}*a]\n" for n in range(9)),
    "an anchor that holds itself": "&a [*a]",
    "an object of Python's": "nodes: !!python/object/apply:os.system [ls]",
    "a merge key": "nodes: []\n<<: {edges: []}",
    "a merge of an alias": "x: &x {a: 1}\ny:\n  <<: *x",
    "several documents": "nodes: []\n---\nnodes: []",
    "a duplicate key": "nodes: []\nnodes: []",
    "a duplicate key of JSON": '{"nodes": [], "nodes": []}',
    "brackets in YAML": "a: " + "[" * 60_000,
    "brackets in JSON": "[" * 120_000,
    "braces in JSON": '{"a":' * 20_000,
    "dashes": "- " * 60_000,
    "questions": "? " * 60_000,
    "braces in YAML": "a: " + "{a: " * 30_000,
    "keys": "".join(f"k{number}: 1\n" for number in range(12_000)),
    "a giant scalar": "a: " + "x" * 130_000,
    "a giant number": "nodes: " + "1" * 130_000,
    "a number of JSON that is too large": '{"nodes": 1e999999999}',
    "a giant number of JSON": '{"nodes": ' + "1" * 130_000 + "}",
    "a giant key": "? " + "x" * 130_000 + "\n: 1",
    "quotes": "'" * 130_000,
    "comments": "#\n" * 65_000 + "a: *b",
    "a text that is too long": "#" * 10**7,
    "a directive": "%YAML 9.9\n---\nnodes: []",
    "bytes": b"\xff\xfe\x00",
    "a NUL": "nodes: \0",
    "a surrogate": "nodes: \ud800",
    "another encoding": "nodes: []".encode("utf-16"),
}


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"x": value}
    return value


def hostile() -> Iterator[Any]:
    for name, make in HOSTILE_VALUES.items():
        yield pytest.param(lambda make=make: (make(), None), id=name)
    for name, text in HOSTILE_EXPRESSIONS.items():
        raw = flow("i>a>o i>b>o", {"i>b": text}, b=AGENT)
        yield pytest.param(lambda raw=raw: (raw, None), id=f"a condition: {name}")
        raw = flow(a=node("template", template="x {{ " + text + " }}"))
        yield pytest.param(lambda raw=raw: (raw, None), id=f"a template: {name}")
    for name, written in HOSTILE_TEXTS.items():
        yield pytest.param(lambda written=written: (None, written), id=f"a text: {name}")


def refused(raw: Any, text: str | bytes | None) -> FlowInvalid:
    with pytest.raises(FlowInvalid) as caught:
        check(raw if text is None else from_text(text), KINDS, SPECIALISTS)
    return caught.value


@pytest.mark.parametrize("make", list(hostile()))
def test_a_hostile_definition_is_refused_at_once_and_with_a_place(
    make: Callable[[], tuple[Any, Any]],
) -> None:
    raw, text = make()
    durations = []
    for _ in range(3):
        begun = time.perf_counter()
        invalid = refused(raw, text)
        durations.append(time.perf_counter() - begun)
    print(f"{min(durations) * 1000:.1f} ms")
    assert min(durations) < 0.25
    for problem in invalid.problems:
        assert (problem.code, problem.message) > ("", "")
        assert len(problem.message) < 400
        assert len(problem.path) < 1000
        assert (
            problem.path or problem.line or problem.code in ("WRONG_TYPE", "TOO_LARGE")
        )  # that one is about the whole


# -------------------------------------------------------------------------------- what always holds

words = st.sampled_from(
    [
        "",
        "x",
        "a",
        "input",
        "output",
        "agent",
        "condition",
        "{{ message }}",
        "{{",
        "turn",
        "²",
        "\0",
    ]
)
json_leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | words
)
json_values = st.recursive(
    json_leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)
settings = st.dictionaries(
    st.sampled_from(
        [
            "prompt",
            "agent",
            "classes",
            "tool",
            "arguments",
            "question",
            "goal",
            "text",
            "tokens",
            "max_rounds",
            "query",
        ]
    ),
    json_values
    | st.dictionaries(st.sampled_from(["expression", "text", "1", "²"]), words)
    | st.just(CLASSES),
    max_size=3,
)
odd_nodes = st.fixed_dictionaries(
    {"id": st.sampled_from("abcd") | json_leaves, "type": st.sampled_from([*KINDS]) | json_leaves},
    optional={"config": settings | json_values, "name": json_leaves},
)
odd_edges = st.fixed_dictionaries(
    {"source": st.sampled_from("abcd"), "target": st.sampled_from("abcd") | json_leaves},
    optional={"condition": json_leaves},
)
odd_flows = st.fixed_dictionaries(
    {
        "nodes": st.lists(odd_nodes | json_values, max_size=5),
        "edges": st.lists(odd_edges | json_values, max_size=6),
    }
)


@UNHURRIED
@given(
    json_values | odd_flows | st.fixed_dictionaries({"nodes": json_values, "edges": json_values})
)
def test_any_json_value_is_a_plan_or_is_refused(raw: Any) -> None:
    try:
        assert isinstance(check(raw, KINDS, SPECIALISTS), FlowPlan)
    except FlowInvalid as invalid:
        assert invalid.problems
        assert all(problem.code and problem.message for problem in invalid.problems)


def loops_for_ever(plan: FlowPlan) -> bool:
    """Whether there is a cycle of ways that neither wait for a human nor are bounded."""
    ways = {
        (edge.source, edge.target)
        for edge in plan.flow.edges
        if not plan.flow.nodes[edge.source].kind.pauses
        and not (
            getattr(plan.flow.nodes[edge.source].config, "max_rounds", None) and edge.condition
        )
    }
    while leaves := {target for _, target in ways} - {source for source, _ in ways}:
        ways = {way for way in ways if way[1] not in leaves}
    return bool(ways)


@UNHURRIED
@given(small_flows())
def test_no_flow_that_is_accepted_can_loop_for_ever(raw: dict[str, Any]) -> None:
    try:
        plan = check(raw, KINDS)
    except FlowInvalid:
        return
    assert not loops_for_ever(plan)
    for id_, branches in plan.joins.items():
        assert branches.join in plan.flow.nodes
        assert id_ not in branches.inside
        assert sum(len(region) for region in branches.regions) == len(branches.inside)


# ---------------------------------------------------------------------------------- what is allowed

ALLOWED = {
    "a cycle that max_rounds bounds": flow(
        "i>a>c>o c>a", {"c>a": "turn"}, c=node("condition", max_rounds=3)
    ),
    "a cycle that a human bounds": flow("i>a>b>o b>a", {"b>a": 'outputs["b"] == "no"'}, b=APPROVAL),
    "a step to itself": flow("i>t>o t>t", {"t>o": "turn > 2"}, t=STEP),
    "steps without an output": flow("i>t>u", {"t>u": "turn > 2"}, t=STEP, u=STEP),
    "branches of different lengths": flow("i>p>b>c>s>o p>d>s", **PARALLEL),
    "a branch that is the way itself": flow("i>p>b>s>o p>s", **PARALLEL),
    "parallel nodes inside each other": flow(
        "i>p>b>s>o p>q>c>s q>d>s", q=node("parallel"), **PARALLEL
    ),
    "a condition inside of a branch": flow("i>p>b>s>o p>c>d>s c>s", {"c>d": "turn"}, **PARALLEL),
    "branches that come together in an output with a text": flow(
        "i>p>b>o p>c>o", **PARALLEL, o=node("output", text='{{ outputs["b"] }}')
    ),
    "as many nodes as there may be": long_chain(NODES - 2),
    "a condition that reads its own node": flow(
        "i>a>o a>b>o", {"a>b": 'outputs["a"] == ""'}, b=AGENT
    ),
    "an output of a node of an earlier round": flow(
        "i>a>c>o c>a",
        {"c>a": "turn"},
        a=node("agent", prompt='{{ outputs["a"] }}'),
        c=node("condition", max_rounds=3),
    ),
}


@pytest.mark.parametrize("raw", ALLOWED.values(), ids=ALLOWED)
def test_what_can_be_executed_is_accepted_as_a_value_and_as_text(raw: Any) -> None:
    plan = check(raw, KINDS, SPECIALISTS)
    assert (
        plan
        == check(from_text(to_yaml(raw)), KINDS, SPECIALISTS)
        == check(from_text(to_json(raw)), KINDS, SPECIALISTS)
    )


def test_the_expressions_of_a_flow_are_bounded_together() -> None:
    placeholders = ("{{" + "turn and " * 33 + "1}}") * 50
    assert 2 * len(placeholders) < EXPRESSIONS < 3 * len(placeholders)
    [problem] = problems_of(
        flow("i>a>b>c>d>o", **dict.fromkeys("abcd", node("agent", prompt=placeholders)))
    )
    assert (problem.code, problem.path) == ("TOO_LARGE", "/nodes/3/config/prompt")


def test_a_wrong_expression_has_its_place_inside() -> None:
    [problem] = problems_of(flow(a=node("agent", prompt="one\n  {{ turn + }}")))
    assert (problem.within, problem.node) == ((2, 11), "a")
