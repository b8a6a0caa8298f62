"""What must be known of a graph before it runs: which nodes lead where, may fail, are tried again.

Places in a graph are written as paths of node names joined by `:`, and with the step in which each
node ran as `outer@2:inner@1`.
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


class GraphShape(msgspec.Struct, frozen=True, kw_only=True):
    """What the engine knows of a graph. A path that is not known may lead anywhere."""

    passing: frozenset[str] = frozenset()
    """Paths of nodes after which another node surely runs: their graph cannot end with them."""
    edgeless: frozenset[str] = frozenset()
    """Paths of nodes without any edge: they are the last ones, unless they return a command."""
    leads: Mapping[str, frozenset[str]] = {}
    """Path of a node -> names of the nodes beside it that can run after it, at any distance."""
    forgiving: frozenset[str] = frozenset()
    """Nodes whose failure does not fail the run: they have an error handler."""
    retries: Mapping[str, Sequence[RetryPolicy]] = {}
    """Nodes that are tried again, while their policies allow it."""

    def passes(self, path: str) -> bool:
        """Whether the graph cannot end with this node, at any level of the path."""
        names = path.split(":")
        return any(":".join(names[: n + 1]) in self.passing for n in range(len(names)))

    def goes_on(self, earlier: str, later: str, last: Collection[str] = ()) -> bool:
        """Whether the work at one place (with steps) went on to the other one.

        `last` are places which are known to have been the last of their graph.
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
            leads = self.leads.get(":".join(path))
            is_last = ":".join(place) in last
            return then == name or (
                not is_last and (leads is None or then in leads)
            )  # again, or on
        return False


def path_of(place: str) -> str:
    """A place without its steps."""
    return ":".join(part.rpartition("@")[0] for part in place.split(":"))


def shape_of(graph: Pregel[Any, Any, Any, Any]) -> GraphShape:
    """Return the shape of a graph, with the subgraphs that its nodes are made of."""
    policies = {name: node.retry_policy or graph.retry_policy for name, node in graph.nodes.items()}
    found = _Drawing()
    found.look(graph, "", 0)
    return GraphShape(
        passing=frozenset(found.passing),
        edgeless=frozenset(found.edgeless),
        leads=found.leads,
        forgiving=frozenset(name for name, node in graph.nodes.items() if node.error_handler_node),
        retries={name: tuple(policy) for name, policy in policies.items() if policy},
    )


class _Drawing:
    """Collects what the edges of a graph and of its subgraphs say."""

    def __init__(self) -> None:
        self.passing: set[str] = set()
        self.edgeless: set[str] = set()
        self.leads: dict[str, frozenset[str]] = {}

    def look(self, graph: Any, prefix: str, depth: int) -> None:
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
                self.look(inner, f"{prefix}{name}:", depth + 1)


def _following(builder: Any, name: str) -> frozenset[str] | None:
    """The nodes that can run directly after a node; None where anything can."""
    targets = {target for source, target in builder.edges if source == name}
    targets |= {target for sources, target in builder.waiting_edges if name in sources}
    for branch in builder.branches.get(name, {}).values():
        if branch.ends is None:
            return None
        targets |= set(branch.ends.values())
    targets |= set(builder.nodes[name].ends or ())
    return frozenset(targets)


def _reached(following: Mapping[str, frozenset[str] | None], start: str) -> set[str] | None:
    """All nodes that can run after a node; None if one of them may go on by a command of unknown target."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        targets = following.get(name)
        if not targets and name != END:
            return None
        targets = targets or frozenset()
        waiting += targets - found
        found |= targets
    return found


def _beyond_middleware(following: Mapping[str, frozenset[str] | None], start: str) -> Iterable[str]:
    """Where a node leads directly, looking through the nodes of middleware."""
    found: set[str] = set()
    waiting, seen = [start], {start}
    while waiting:
        for target in following.get(waiting.pop()) or (END,):
            if MIDDLEWARE.match(target) and target not in seen:
                seen.add(target)
                waiting.append(target)
            else:
                found.add(target)
    return found
