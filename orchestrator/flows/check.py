"""Whether a flow can be executed, and its expressions read once and for all. Pure.

`check(raw)` gives a `Plan` or raises `FlowInvalid` with everything that is wrong.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice
from typing import Any

import msgspec

from antiphon.orchestrator.flows.definition import (
    TEMPLATES,
    TOOL_ARGUMENTS,
    AgentConfig,
    ClassifierConfig,
    ConditionConfig,
    Edge,
    Flow,
    FlowInvalid,
    FlowProblem,
    Node,
    ToolConfig,
    pointer,
    read_flow,
)
from antiphon.orchestrator.flows.language.expressions import (
    Expression,
    ExpressionError,
    Template,
    parse,
    parse_template,
)

NAMES = frozenset({"message", "outputs", "inputs", "steps", "turn"})
"""What expressions may speak of: the message, the outputs of nodes before, the request's initial inputs by node, what
was asked and said in earlier steps, and the number of messages that the present step has had."""

SPEAKERS = ("agent", "synthesis", "step", "template", "tool", "classifier", "approval")
"""Nodes whose output is a text that can be answered."""
EXPRESSIONS = 40_000
"""Characters of all expressions of a flow."""
PAUSES = ("step", "approval")
"""Nodes that wait for a human, so that a cycle through them is bounded by one."""


class Branches(msgspec.Struct, frozen=True, kw_only=True):
    """The ways of a parallel node: what lies on each of them, in order, and the node where they come together."""

    join: str | None
    regions: list[set[str]]

    @property
    def inside(self) -> set[str]:
        """The nodes of all branches."""
        return set().union(*self.regions)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that can be executed: templates by `(node, setting)`, conditions by place, branches by parallel node."""

    flow: Flow
    templates: dict[tuple[str, str], Any]
    conditions: dict[int, Any]
    joins: dict[str, Branches]

    def template(self, node: str, setting: str) -> Template:
        """A setting that is a template."""
        template: Template = self.templates[node, setting]
        return template

    def condition(self, edge: Edge) -> Expression | None:
        """An edge's condition."""
        return self.conditions.get(edge.index)

    @property
    def has_steps(self) -> bool:
        """Whether the flow lasts for several turns of a conversation."""
        return bool(self.flow.of_type("step"))

    def answers(self, node: Node) -> bool:
        """Whether what a node says is the answer, and not material for the nodes behind it."""
        if node.type == "step":
            return True
        ways = self.flow.out(node.id)
        return bool(ways) and all(self._repeats(self.flow.nodes[edge.target]) for edge in ways)

    @staticmethod
    def _repeats(node: Node) -> bool:
        return node.type == "output" and node.config.text is None


def check(raw: Any, specialists: Collection[str] = ()) -> Plan:
    """The plan of a definition. `specialists` are the team's agents that nodes may take. Raises `FlowInvalid`."""
    flow, problems = read_flow(raw)
    problems += _wrong_nodes(flow, specialists)
    if not problems:
        problems += _wrong_ways(flow)
    joins = _joins(flow) if not problems else {}
    if not problems:
        problems += _wrong_shape(flow, joins)
    templates, conditions, wrong = _expressions(flow, complete=not problems)
    problems += wrong
    if problems:
        raise FlowInvalid(sorted(problems, key=_place))
    return Plan(flow=flow, templates=templates, conditions=conditions, joins=joins)


def _place(problem: FlowProblem) -> tuple[list[tuple[int, str]], str]:
    parts = problem.path.split("/")
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], problem.code


# ------------------------------------------------------------------------------------------------------ nodes


def _wrong_nodes(flow: Flow, specialists: Collection[str]) -> Iterator[FlowProblem]:
    for node in flow.nodes.values():
        config = node.config
        if isinstance(config, AgentConfig):
            yield from _wrong_agent(node, config, specialists)
        elif isinstance(config, ClassifierConfig):
            yield from _wrong_classes(node, config)
        elif isinstance(config, ToolConfig):
            yield from _wrong_tool(node, config)


def _wrong_agent(node: Node, config: AgentConfig, specialists: Collection[str]) -> Iterator[FlowProblem]:
    if config.agent is None and not config.prompt.strip():
        yield _at(node, "MISSING_INPUT", "An agent needs a prompt, or the name of a specialist.", "prompt")
    elif config.agent is not None and config.agent not in specialists:
        message = f"There is no such specialist; there are {', '.join(specialists)}."
        yield _at(node, "UNKNOWN_AGENT", message, "agent")


def _wrong_classes(node: Node, config: ClassifierConfig) -> Iterator[FlowProblem]:
    names = [one.name for one in config.classes]
    if not 2 <= len(names) <= 20:
        yield _at(node, "MISSING_INPUT", "A classifier needs 2 to 20 classes.", "classes")
    elif len(set(names)) < len(names) or not all(name.strip() for name in names):
        yield _at(node, "DUPLICATE_ID", "Classes need names of their own.", "classes")


def _wrong_tool(node: Node, config: ToolConfig) -> Iterator[FlowProblem]:
    needed = TOOL_ARGUMENTS[config.tool]
    for name in needed:
        if name not in config.arguments:
            yield _at(node, "MISSING_INPUT", f"This tool needs the argument {name!r}.", "arguments")
    for name in config.arguments:
        if name not in needed:
            yield _at(node, "BAD_CONFIG", f"This tool has no argument {name[:40]!r}.", "arguments")


def _at(node: Node, code: str, message: str, setting: str | None = None) -> FlowProblem:
    path = f"/nodes/{node.index}" + (f"/config/{setting}" if setting else "")
    return FlowProblem(code=code, message=message, path=path, node=node.id)


# ------------------------------------------------------------------------------------------------------ ways


def _wrong_ways(flow: Flow) -> Iterator[FlowProblem]:
    inputs, outputs = flow.of_type("input"), flow.of_type("output")
    if len(inputs) != 1:
        path = f"/nodes/{inputs[1].index}" if inputs else "/nodes"
        yield FlowProblem(code="MISSING_INPUT", message="A flow has exactly one input node.", path=path)
    if not outputs and not flow.of_type("step"):
        yield FlowProblem(code="MISSING_OUTPUT", message="A flow has an output node, or steps.", path="/nodes")
    for node in flow.nodes.values():
        yield from _wrong_ways_out(flow, node)
        if node.type == "input" and flow.into(node.id):
            yield _edge_problem(flow.into(node.id)[0], "BAD_EDGE", "Nothing leads into the input.")
    yield from _doubled(flow)


def _doubled(flow: Flow) -> Iterator[FlowProblem]:
    seen: set[tuple[str, str, str | None]] = set()
    for edge in flow.edges:
        way = (edge.source, edge.target, edge.condition)
        if way in seen:
            yield _edge_problem(edge, "DUPLICATE_EDGE", "This edge is there already.")
        seen.add(way)


def _wrong_ways_out(flow: Flow, node: Node) -> Iterator[FlowProblem]:
    ways = flow.out(node.id)
    plain = [edge for edge in ways if edge.condition is None]
    if node.type == "output":
        if ways:
            yield _edge_problem(ways[0], "BAD_EDGE", "Nothing leads out of an output.")
    elif node.type == "parallel":
        for edge in ways:
            if edge.condition is not None:
                yield _edge_problem(edge, "BAD_EDGE", "A parallel node goes all ways: none has a condition.")
        if len(ways) < 2:
            yield _at(node, "BAD_EDGE", "A parallel node needs two ways or more.")
    else:
        if len(plain) > 1:
            yield _edge_problem(plain[1], "BAD_EDGE", "Only one way may be without a condition; use a parallel node.")
        if node.type != "step" and not plain:
            message = "There must be a way without a condition, for all other cases." if ways else "No way leads on."
            yield _at(node, "DEAD_END", message)


def _edge_problem(edge: Edge, code: str, message: str) -> FlowProblem:
    return FlowProblem(code=code, message=message, path=f"/edges/{edge.index}", node=edge.source)


# ------------------------------------------------------------------------------------------------------ shape


def _wrong_shape(flow: Flow, joins: dict[str, Branches]) -> Iterator[FlowProblem]:
    start = flow.of_type("input")[0].id
    reached = _reach([start], _up_to(flow, None))
    for node in flow.nodes.values():
        if node.id not in reached:
            yield _at(node, "UNREACHABLE", "No way leads from the input to this node.")
    for node in flow.of_type("output"):
        said = any(flow.nodes[id_].type in SPEAKERS for id_ in _before(flow, node.id))
        if node.config.text is None and not said:
            yield _at(node, "MISSING_INPUT", "Nothing before this output says anything: it needs a text.")
    yield from _unbounded(flow)
    yield from _wrong_parallels(flow, joins)


def _reach(start: Iterable[str], onward: Callable[[str], Iterable[str]]) -> set[str]:
    """Everything that can be reached from some nodes, with them."""
    found, waiting = set(start), list(start)
    while waiting:
        for id_ in onward(waiting.pop()):
            if id_ not in found:
                found.add(id_)
                waiting.append(id_)
    return found


def _unbounded(flow: Flow) -> Iterator[FlowProblem]:
    """Cycles that neither a human nor `max_rounds` ends: what is left when everything that cannot be in one is gone."""
    ways: dict[str, list[str]] = {
        id_: [edge.target for edge in flow.out(id_) if _goes_on(flow.nodes[id_], edge)] for id_ in flow.nodes
    }
    for _ in flow.nodes:
        ways = {id_: [one for one in to if one in ways] for id_, to in ways.items()}
        ways = {id_: to for id_, to in ways.items() if to}
    # what is left leads into a cycle; a node in one can be reached from itself
    for id_ in ways:
        if id_ in _reach(ways[id_], lambda one: ways.get(one, [])):
            message = "This node is in a cycle that nothing bounds: give a condition in it max_rounds."
            yield _at(flow.nodes[id_], "UNBOUNDED_CYCLE", message)
            return


def _goes_on(node: Node, edge: Edge) -> bool:
    """Whether a way can be gone again and again without anybody's doing."""
    if node.type in PAUSES:
        return False
    bounded = isinstance(node.config, ConditionConfig) and node.config.max_rounds is not None
    return not (bounded and edge.condition is not None)


def _joins(flow: Flow) -> dict[str, Branches]:
    """Where the ways of each parallel node come together: in the nearest node that all of them must pass."""
    behind = _passed(flow)
    found = {}
    for node in flow.of_type("parallel"):
        later = behind[node.id] - {node.id}
        join = max(later, key=lambda id_: len(behind[id_]), default=None)
        onward = _up_to(flow, join)
        regions = [_reach([edge.target] if edge.target != join else [], onward) for edge in flow.out(node.id)]
        found[node.id] = Branches(join=join, regions=regions)
    return found


def _passed(flow: Flow) -> dict[str, set[str]]:
    """What is passed for certain on all ways from a node to where a turn ends, with the node itself."""
    passed = {id_: set(flow.nodes) for id_ in flow.nodes}
    changed = True
    while changed:
        changed = False
        for id_, node in reversed(flow.nodes.items()):
            ways = [] if node.type in PAUSES else [passed[edge.target] for edge in flow.out(id_)]
            now = (set.intersection(*ways) if ways else set()) | {id_}
            changed = changed or now != passed[id_]
            passed[id_] = now
    return passed


def _up_to(flow: Flow, last: str | None) -> Callable[[str], list[str]]:
    return lambda id_: [edge.target for edge in flow.out(id_) if edge.target != last]


def _wrong_parallels(flow: Flow, joins: dict[str, Branches]) -> Iterator[FlowProblem]:
    for node in flow.of_type("parallel"):
        found = joins[node.id]
        if found.join is None:
            apart = {id_ for id_ in found.inside if not all(id_ in region for region in found.regions)}
            yield next(_wrong_inside(flow, apart), _at(node, "BAD_PARALLEL", "The branches never come together."))
        else:
            problems = chain(_wrong_inside(flow, found.inside), _wrong_branches(flow, node, found))
            yield from islice(problems, 1)


def _wrong_inside(flow: Flow, inside: Collection[str]) -> Iterator[FlowProblem]:
    for node in flow.nodes.values():
        if node.id in inside and node.type in PAUSES:
            yield _at(node, "BAD_PARALLEL", "Nobody can be asked inside of parallel branches.")
        elif node.id in inside and node.type == "output":
            yield _at(node, "BAD_PARALLEL", "Parallel branches come together before an output.")


def _wrong_branches(flow: Flow, node: Node, found: Branches) -> Iterator[FlowProblem]:
    """Each branch is entered by the parallel node only, and left for the node where all of them come together."""
    counts = Counter(id_ for region in found.regions for id_ in region)
    for one in flow.nodes.values():
        if counts[one.id] > 1 or (counts[one.id] and one is node):
            message = "Branches come together in one node, all of them; parallel nodes may stand inside each other."
            yield _at(one, "BAD_PARALLEL", message)
    for edge in flow.edges:
        if edge.target in counts and edge.source not in counts and edge.source != node.id:
            yield _edge_problem(edge, "BAD_PARALLEL", "Only its parallel node leads into a branch.")
    join = flow.nodes[found.join or ""]
    if join.type == "output" and join.config.text is None:
        message = "Behind parallel branches an output needs a text, or a synthesis before it."
        yield _at(join, "BAD_PARALLEL", message)


# ------------------------------------------------------------------------------------------------------ expressions


def _expressions(
    flow: Flow, complete: bool
) -> tuple[dict[tuple[str, str], Template], dict[int, Expression], list[FlowProblem]]:
    templates: dict[tuple[str, str], Template] = {}
    conditions: dict[int, Expression] = {}
    problems: list[FlowProblem] = []
    size = 0
    for node, place, path, text in _texts(flow):
        try:
            if isinstance(place, tuple):
                template = templates[place] = parse_template(text, NAMES)
                read = [part.expression for part in template.parts if not isinstance(part, str)]
            else:
                read = [parse(text, NAMES)]
                conditions[place] = read[0]
        except ExpressionError as error:
            problems.append(_unreadable(error, path, node))
            continue
        size += sum(len(expression.text) for expression in read)
        if size > EXPRESSIONS:
            message = f"The expressions of a flow have at most {EXPRESSIONS} characters."
            problems.append(FlowProblem(code="TOO_LARGE", message=message, path=path, node=node))
            break
        if complete:
            before = _before(flow, node) | (set() if isinstance(place, tuple) else {node})
            problems += _missing(flow, node, before, read, path)
    return templates, conditions, problems


def _texts(flow: Flow) -> Iterator[tuple[str, tuple[str, str] | int, str, str]]:
    """All templates and conditions: their node, `(node, setting)` or the edge's place, the path, the text."""
    for node in flow.nodes.values():
        for setting, text in _templates_of(node):
            yield node.id, (node.id, setting), f"/nodes/{node.index}/config/{setting}", text
    for edge in flow.edges:
        if edge.condition is not None:
            yield edge.source, edge.index, f"/edges/{edge.index}/condition", edge.condition


def _templates_of(node: Node) -> Iterator[tuple[str, str]]:
    for setting in TEMPLATES.get(type(node.config), ()):
        text = getattr(node.config, setting)
        if text is not None:
            yield setting, text
    if isinstance(node.config, ToolConfig):
        for name, text in node.config.arguments.items():
            yield f"arguments/{pointer(name)}", text


def _unreadable(error: ExpressionError, path: str, node: str) -> FlowProblem:
    return FlowProblem(code="BAD_EXPRESSION", message=error.message, path=path, node=node, within=error.position)


def _missing(
    flow: Flow, node: str, before: Collection[str], read: list[Expression], path: str
) -> Iterator[FlowProblem]:
    """Outputs that an expression reads but that cannot be there: of unknown nodes, and of nodes that come later."""
    for id_ in dict.fromkeys(id_ for expression in read for id_ in _outputs_read(expression.tree)):
        if id_ not in flow.nodes:
            message = f"There is no node {id_[:64]!r}."
            yield FlowProblem(code="MISSING_INPUT", message=message, path=path, node=node)
        elif id_ not in before:
            message = f"Node {id_!r} has no output yet when this is read."
            yield FlowProblem(code="MISSING_INPUT", message=message, path=path, node=node)


def _before(flow: Flow, node: str) -> set[str]:
    """The nodes from which a way leads to a node."""

    def back(id_: str) -> list[str]:
        return [edge.source for edge in flow.into(id_)]

    return _reach(back(node), back)


def _outputs_read(tree: ast.expr) -> Iterator[str]:
    for one in ast.walk(tree):
        if (
            isinstance(one, ast.Subscript)
            and isinstance(one.value, ast.Name)
            and one.value.id == "outputs"
            and isinstance(one.slice, ast.Constant)
        ):
            yield str(one.slice.value)
