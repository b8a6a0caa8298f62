"""Checks whether a flow can be executed, and reads its expressions. Pure."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from antiphon.orchestrator.flows.branches import (
    Branches,
    find_branches,
    reach,
    targets_before,
    wrong_branches,
)
from antiphon.orchestrator.flows.definition import (
    Edge,
    Exits,
    Flow,
    FlowInvalid,
    FlowProblem,
    Kind,
    Node,
    pointer,
)
from antiphon.orchestrator.flows.language.expressions import (
    Expression,
    ExpressionError,
    Template,
    parse,
    parse_template,
)
from antiphon.orchestrator.flows.plan import FlowPlan
from antiphon.orchestrator.flows.reading import read_flow

NAMES = frozenset({"message", "outputs", "inputs", "steps", "turn"})
"""The names in expressions: the message, the outputs of earlier nodes, the request's initial inputs
by node, the messages and responses of earlier steps, and how many messages this step has had."""
EXPRESSIONS = 40_000
"""Characters of all expressions of a flow."""


def check(raw: Any, kinds: Mapping[str, Kind], specialists: Collection[str] = ()) -> FlowPlan:
    """Return the plan of a definition.

    `kinds` are the types of nodes, `specialists` the team's agents that nodes may name. Raises
    `FlowInvalid` with everything that is wrong.
    """
    flow, problems = read_flow(raw, kinds)
    for node in flow.nodes.values():
        problems += node.kind.check(node, specialists)
    if not problems:
        problems += _wrong_edges(flow)
    joins = find_branches(flow) if not problems else {}
    if not problems:
        problems += _wrong_shape(flow, joins)
    reader = _ExpressionReader(flow, complete=not problems)
    reader.read()
    problems += reader.problems
    if problems:
        raise FlowInvalid(sorted(problems, key=_place))
    templates, conditions = reader.templates, reader.conditions
    return FlowPlan(flow=flow, templates=templates, conditions=conditions, joins=joins)


def _place(problem: FlowProblem) -> tuple[list[tuple[int, str]], str]:
    """Return the sort key of a problem: its path, with indexes as numbers."""
    parts = problem.path.split("/")
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], problem.code


# -------------------------------------------------------------------------------------------- edges


def _wrong_edges(flow: Flow) -> Iterator[FlowProblem]:
    entries = flow.entries
    if len(entries) != 1:
        path = f"/nodes/{entries[1].index}" if entries else "/nodes"
        message = "A flow has exactly one input node."
        yield FlowProblem(code="MISSING_INPUT", message=message, path=path)
    if not flow.with_exits(Exits.NONE) and not flow.with_exits(Exits.NEXT_TURN):
        message = "A flow has an output node, or steps."
        yield FlowProblem(code="MISSING_OUTPUT", message=message, path="/nodes")
    for node in flow.nodes.values():
        yield from _wrong_exits(node, flow.out(node.id))
        if node.kind.entry and flow.into(node.id):
            yield flow.into(node.id)[0].problem("BAD_EDGE", "Nothing leads into the input.")
    yield from _duplicates(flow)


def _duplicates(flow: Flow) -> Iterator[FlowProblem]:
    seen: set[tuple[str, str, str | None]] = set()
    for edge in flow.edges:
        key = (edge.source, edge.target, edge.condition)
        if key in seen:
            yield edge.problem("DUPLICATE_EDGE", "This edge is there already.")
        seen.add(key)


def _wrong_exits(node: Node, edges: list[Edge]) -> Iterator[FlowProblem]:
    match node.kind.exits:
        case Exits.NONE:
            if edges:
                yield edges[0].problem("BAD_EDGE", "Nothing leads out of an output.")
        case Exits.ALL:
            yield from _wrong_fork(node, edges)
        case Exits.FIRST | Exits.NEXT_TURN:
            yield from _wrong_choice(node, edges)


def _wrong_fork(node: Node, edges: list[Edge]) -> Iterator[FlowProblem]:
    for edge in edges:
        if edge.condition is not None:
            message = "A parallel node follows all its edges: none has a condition."
            yield edge.problem("BAD_EDGE", message)
    if len(edges) < 2:
        yield node.problem("BAD_EDGE", "A parallel node needs two edges or more.")


def _wrong_choice(node: Node, edges: list[Edge]) -> Iterator[FlowProblem]:
    plain = [edge for edge in edges if edge.condition is None]
    if len(plain) > 1:
        message = "Only one edge may be without a condition; use a parallel node."
        yield plain[1].problem("BAD_EDGE", message)
    if node.kind.exits is Exits.FIRST and not plain:
        message = "There must be an edge without a condition, for all other cases."
        yield node.problem("DEAD_END", message if edges else "No edge leads on.")


# -------------------------------------------------------------------------------------------- shape


def _wrong_shape(flow: Flow, joins: dict[str, Branches]) -> Iterator[FlowProblem]:
    reached = reach([flow.entries[0].id], targets_before(flow, None))
    for node in flow.nodes.values():
        if node.id not in reached:
            yield node.problem("UNREACHABLE", "No path leads from the input to this node.")
    for node in flow.with_exits(Exits.NONE):
        earlier = [flow.nodes[id_] for id_ in _before(flow, node.id)]
        if node.repeats and not any(other.kind.speaks for other in earlier):
            message = "Nothing before this output says anything: it needs a text."
            yield node.problem("MISSING_INPUT", message)
    yield from _unbounded(flow)
    yield from wrong_branches(flow, joins)


def _unbounded(flow: Flow) -> Iterator[FlowProblem]:
    """Report the first node in a cycle that neither a human nor `max_rounds` ends.

    Nodes without an edge to another node are taken away until only cycles are left, and what leads
    into them.
    """
    targets = {
        node.id: [edge.target for edge in flow.out(node.id) if _is_unbounded(node, edge)]
        for node in flow.nodes.values()
    }
    for _ in flow.nodes:
        targets = {
            id_: [target for target in ends if target in targets] for id_, ends in targets.items()
        }
        targets = {id_: ends for id_, ends in targets.items() if ends}
    for id_ in targets:
        if id_ in reach(targets[id_], lambda other: targets.get(other, [])):
            message = (
                "This node is in a cycle that nothing bounds: give a condition in it max_rounds."
            )
            yield flow.nodes[id_].problem("UNBOUNDED_CYCLE", message)
            return


def _is_unbounded(node: Node, edge: Edge) -> bool:
    """Return whether an edge may be followed again and again without a human."""
    if node.kind.pauses:
        return False
    return node.max_rounds is None or edge.condition is None


def _before(flow: Flow, node: str) -> set[str]:
    """Return the nodes from which a path leads to a node."""

    def sources(id_: str) -> list[str]:
        return [edge.source for edge in flow.into(id_)]

    return reach(sources(node), sources)


# -------------------------------------------------------------------------------------- expressions


class _ExpressionReader:
    """Reads the templates and the conditions of a flow, and collects the problems.

    Whether an output can be read in a place is checked only if the flow is `complete`.
    """

    def __init__(self, flow: Flow, complete: bool) -> None:
        self.templates: dict[tuple[str, str], Template] = {}
        self.conditions: dict[int, Expression] = {}
        self.problems: list[FlowProblem] = []
        self._flow = flow
        self._complete = complete
        self._size = 0

    def read(self) -> None:
        """Read all texts, up to the one with which the flow has too many characters."""
        for node in self._flow.nodes.values():
            for setting, text in _templates_of(node):
                path = f"/nodes/{node.index}/config/{setting}"
                if not self._read_template(node, setting, text, path):
                    return
        for edge in self._flow.edges:
            if edge.condition is not None and not self._read_condition(edge, edge.condition):
                return

    def _read_template(self, node: Node, setting: str, text: str, path: str) -> bool:
        try:
            template = parse_template(text, NAMES)
        except ExpressionError as error:
            self._unreadable(error, path, node.id)
            return True
        self.templates[node.id, setting] = template
        return self._check(template.expressions, path, node.id, _before(self._flow, node.id))

    def _read_condition(self, edge: Edge, text: str) -> bool:
        path = f"/edges/{edge.index}/condition"
        try:
            condition = parse(text, NAMES)
        except ExpressionError as error:
            self._unreadable(error, path, edge.source)
            return True
        self.conditions[edge.index] = condition
        before = _before(self._flow, edge.source) | {edge.source}
        return self._check([condition], path, edge.source, before)

    def _unreadable(self, error: ExpressionError, path: str, node: str) -> None:
        problem = FlowProblem(
            code="BAD_EXPRESSION",
            message=error.message,
            path=path,
            node=node,
            within=error.position,
        )
        self.problems.append(problem)

    def _check(
        self, expressions: list[Expression], path: str, node: str, before: Collection[str]
    ) -> bool:
        """Check what expressions read. Return whether there is room for more of them."""
        self._size += sum(len(expression.text) for expression in expressions)
        if self._size > EXPRESSIONS:
            message = f"The expressions of a flow have at most {EXPRESSIONS} characters."
            self._report("TOO_LARGE", message, path, node)
            return False
        if self._complete:
            read = [id_ for expression in expressions for id_ in _outputs_read(expression.tree)]
            for id_ in dict.fromkeys(read):
                if id_ not in self._flow.nodes:
                    self._report("MISSING_INPUT", f"There is no node {id_[:64]!r}.", path, node)
                elif id_ not in before:
                    message = f"Node {id_!r} has no output yet when this is read."
                    self._report("MISSING_INPUT", message, path, node)
        return True

    def _report(self, code: str, message: str, path: str, node: str) -> None:
        self.problems.append(FlowProblem(code=code, message=message, path=path, node=node))


def _templates_of(node: Node) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each template in a node's settings."""
    for setting in node.kind.templates:
        value = getattr(node.config, setting)
        if isinstance(value, str):
            yield setting, value
        elif value is not None:
            for name, text in value.items():
                yield f"{setting}/{pointer(name)}", text


def _outputs_read(tree: ast.expr) -> Iterator[str]:
    """Yield the ids of the nodes whose outputs an expression reads: `outputs["id"]`."""
    for part in ast.walk(tree):
        match part:
            case ast.Subscript(value=ast.Name(id="outputs"), slice=ast.Constant(value=id_)):
                yield str(id_)
