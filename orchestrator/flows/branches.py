"""The branches of parallel nodes: their nodes, and the node in which they join. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import chain, islice

import msgspec

from antiphon.orchestrator.flows.definition import Exits, Flow, FlowProblem, Node


class Branches(msgspec.Struct, frozen=True, kw_only=True):
    """The branches of a parallel node.

    `regions` holds the nodes of each branch, in the order of the edges; `join` is the node in
    which all branches come together, None if there is no such node.
    """

    join: str | None
    regions: list[set[str]]

    @property
    def inside(self) -> set[str]:
        """The nodes of all branches."""
        return set().union(*self.regions)


def reach(start: Iterable[str], onward: Callable[[str], Iterable[str]]) -> set[str]:
    """Return all nodes that can be reached from some nodes, including these."""
    reached = set(start)
    waiting = list(reached)
    while waiting:
        for id_ in onward(waiting.pop()):
            if id_ not in reached:
                reached.add(id_)
                waiting.append(id_)
    return reached


def targets_before(flow: Flow, last: str | None) -> Callable[[str], list[str]]:
    """Return a function from a node to the targets of its edges, without the node `last`."""
    return lambda id_: [edge.target for edge in flow.out(id_) if edge.target != last]


def find_branches(flow: Flow) -> dict[str, Branches]:
    """Return the branches of each parallel node.

    They join in the nearest node that every path from the parallel node must pass.
    """
    passed = _passed(flow)
    branches = {}
    for node in flow.with_exits(Exits.ALL):
        later = passed[node.id] - {node.id}
        join = max(later, key=lambda id_: len(passed[id_]), default=None)
        onward = targets_before(flow, join)
        firsts = [edge.target for edge in flow.out(node.id)]
        regions = [reach([first] if first != join else [], onward) for first in firsts]
        branches[node.id] = Branches(join=join, regions=regions)
    return branches


def _passed(flow: Flow) -> dict[str, set[str]]:
    """Return, for each node, the nodes on every path from it to the end of the turn.

    (In a graph of control flow these are its post-dominators. The node is one of them.)
    """
    passed = {id_: set(flow.nodes) for id_ in flow.nodes}
    changed = True
    while changed:
        changed = False
        for id_, node in reversed(flow.nodes.items()):
            edges = [] if node.kind.pauses else flow.out(id_)
            on_edges = [passed[edge.target] for edge in edges]
            now = (set.intersection(*on_edges) if on_edges else set()) | {id_}
            changed = changed or now != passed[id_]
            passed[id_] = now
    return passed


def wrong_branches(flow: Flow, joins: dict[str, Branches]) -> Iterator[FlowProblem]:
    """Report the first problem with the branches of each parallel node."""
    for node in flow.with_exits(Exits.ALL):
        branches = joins[node.id]
        if branches.join is None:
            common = set.intersection(*branches.regions)
            inside = _wrong_inside(flow, branches.inside - common)
            apart = node.problem("BAD_PARALLEL", "The branches never come together.")
            problems = chain(inside, [apart])
        else:
            inside = _wrong_inside(flow, branches.inside)
            problems = chain(inside, _wrong_regions(flow, node, branches))
        yield from islice(problems, 1)


def _wrong_inside(flow: Flow, inside: Collection[str]) -> Iterator[FlowProblem]:
    for node in flow.nodes.values():
        if node.id in inside and node.kind.pauses:
            yield node.problem("BAD_PARALLEL", "A human cannot be asked inside parallel branches.")
        elif node.id in inside and node.kind.exits is Exits.NONE:
            yield node.problem("BAD_PARALLEL", "Parallel branches come together before an output.")


def _wrong_regions(flow: Flow, parallel: Node, branches: Branches) -> Iterator[FlowProblem]:
    """Report what enters a branch other than from its parallel node, and what leaves it early."""
    counts = Counter(id_ for region in branches.regions for id_ in region)
    for node in flow.nodes.values():
        if counts[node.id] > 1 or (counts[node.id] and node is parallel):
            message = (
                "Branches come together in one node, all of them; parallel nodes may be nested."
            )
            yield node.problem("BAD_PARALLEL", message)
    for edge in flow.edges:
        if edge.target in counts and edge.source not in counts and edge.source != parallel.id:
            yield edge.problem("BAD_PARALLEL", "Only its parallel node leads into a branch.")
    join = flow.nodes[branches.join or ""]
    if join.repeats:
        message = "After parallel branches an output needs a text, or a synthesis before it."
        yield join.problem("BAD_PARALLEL", message)
