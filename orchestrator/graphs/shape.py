"""The shape of a graph, known before it runs: which nodes lead where, may fail, are retried.

A path is made of node names joined by `:`. A place is a path with the step in which each node ran,
for example `outer@2:inner@1`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from langgraph.constants import END
from langgraph.pregel import Pregel
from langgraph.types import RetryPolicy

MIDDLEWARE = re.compile(r".+\.(?:before|after)_(?:agent|model)\Z")
"""Nodes that `create_agent` makes of middleware: part of the agent, not agents themselves."""
DEPTH = 8
"""Levels of subgraphs that are looked into."""


class GraphShape(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine knows of a graph. An unknown path may lead anywhere."""

    passing: frozenset[str] = frozenset()
    """Paths of nodes that another node always follows: their graph cannot end with them."""
    edgeless: frozenset[str] = frozenset()
    """Paths of nodes without any edge: they are the last ones, unless they return a command."""
    leads: Mapping[str, frozenset[str]] = {}
    """Names of the nodes of the same graph that can run later, by the path of a node."""
    forgiving: frozenset[str] = frozenset()
    """Nodes whose failure does not fail the run: they have an error handler."""
    retries: Mapping[str, Sequence[RetryPolicy]] = {}
    """Policies of nodes that are retried, by name."""

    def passes(self, path: str) -> bool:
        """Return whether the graph cannot end with this node, at any level of the path."""
        names = path.split(":")
        return any(":".join(names[: n + 1]) in self.passing for n in range(len(names)))

    def goes_on(self, earlier: str, later: str, last: Collection[str] = ()) -> bool:
        """Return whether the work at one place went on to the other one.

        `last` are places that are known to have been the last of their graph.
        """
        path: list[str] = []
        place: list[str] = []
        for before, after in zip(earlier.split(":"), later.split(":"), strict=False):
            name, _, step = before.rpartition("@")
            then, _, later_step = after.rpartition("@")
            path.append(name)
            place.append(before)
            if before == after:
                continue
            if int(step) >= int(later_step):
                return False
            if then == name:  # the same node again
                return True
            leads = self.leads.get(":".join(path))
            is_last = ":".join(place) in last
            return not is_last and (leads is None or then in leads)
        return False


def path_of(place: str) -> str:
    """Return the path of a place, which has no steps."""
    return ":".join(part.rpartition("@")[0] for part in place.split(":"))


def shape_of(graph: Pregel[Any, Any, Any, Any]) -> GraphShape:
    """Return the shape of a graph and of the subgraphs in its nodes."""
    policies = {name: node.retry_policy or graph.retry_policy for name, node in graph.nodes.items()}
    drawing = _Drawing()
    drawing.add(graph, "", 0)
    return GraphShape(
        passing=frozenset(drawing.passing),
        edgeless=frozenset(drawing.edgeless),
        leads=drawing.leads,
        forgiving=frozenset(name for name, node in graph.nodes.items() if node.error_handler_node),
        retries={name: tuple(policy) for name, policy in policies.items() if policy},
    )


class _Drawing:
    """Collects the edges of a graph and of its subgraphs."""

    def __init__(self) -> None:
        self.passing: set[str] = set()
        self.edgeless: set[str] = set()
        self.leads: dict[str, frozenset[str]] = {}

    def add(self, graph: Any, prefix: str, depth: int) -> None:
        builder = getattr(graph, "builder", None)
        if builder is None or depth > DEPTH:
            return  # made of functions: any of them may be called by any other
        following = {name: _following(builder, name) for name in builder.nodes}
        for name, targets in following.items():
            reached = _reached(following, name)
            if reached is not None:
                self.leads[prefix + name] = frozenset(reached)
            if targets is not None and not targets:
                self.edgeless.add(prefix + name)
            elif targets and END not in _beyond_middleware(following, name):
                self.passing.add(prefix + name)
        for name, inner in graph.get_subgraphs():
            if name in builder.nodes:
                self.add(inner, f"{prefix}{name}:", depth + 1)


def _following(builder: Any, name: str) -> frozenset[str] | None:
    """Return the nodes that can run directly after a node; None if any node can."""
    targets = {target for source, target in builder.edges if source == name}
    targets |= {target for sources, target in builder.waiting_edges if name in sources}
    for branch in builder.branches.get(name, {}).values():
        if branch.ends is None:
            return None
        targets |= set(branch.ends.values())
    targets |= set(builder.nodes[name].ends or ())
    return frozenset(targets)


def _reached(following: Mapping[str, frozenset[str] | None], start: str) -> set[str] | None:
    """Return all nodes that can run after a node.

    None if one of them may go on by a command whose target is unknown.
    """
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        targets = following.get(name)
        if not targets and name != END:
            return None
        targets = targets or frozenset()
        waiting += targets - reached
        reached |= targets
    return reached


def _beyond_middleware(following: Mapping[str, frozenset[str] | None], start: str) -> Iterable[str]:
    """Return the nodes directly after a node, looking through the nodes of middleware."""
    beyond: set[str] = set()
    waiting, seen = [start], {start}
    while waiting:
        for target in following.get(waiting.pop()) or (END,):
            if MIDDLEWARE.match(target) and target not in seen:
                seen.add(target)
                waiting.append(target)
            else:
                beyond.add(target)
    return beyond
