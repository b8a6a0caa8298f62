"""The parts of a flow: kinds of nodes, nodes, edges, and problems with them. Pure.

`read_flow` in `reading.py` makes them from a user's definition. The kinds themselves, which run
models and tools, are the rows of the table in `kinds/`.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

from antiphon.data.errors import AntiphonError

NODES = 60
EDGES = 240
SIZE = 128 * 1024
"""Bytes of a definition as text."""
VALUES = 5_000
"""Values in a definition."""
DEPTH = 12
"""Levels of objects and lists in a definition."""
INTEGER = 2**63
"""Integers must be smaller than this, without their sign."""
ERRORS = 20
"""Problems that are reported at once."""
NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

BOUNDS: dict[str, tuple[float, float]] = {
    "tokens": (1, 100_000),
    "sentences": (1, 1_000),
    "seconds": (1, 600),
    "max_rounds": (1, 20),
}
"""The least and the most of settings that mean the same in every kind of node."""


class FlowProblem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One error in a definition.

    `path` is a JSON pointer. `line` and `column` are its place in the text, if the definition was
    sent as text. `within` is `(line, column)` inside an expression or a template. All count from 1.
    """

    code: str
    message: str
    path: str = ""
    node: str | None = None
    line: int | None = None
    column: int | None = None
    within: tuple[int, int] | None = None


class FlowInvalid(AntiphonError, ValueError):
    """A definition that cannot be executed. `problems` holds the reasons, at most `ERRORS`."""

    code = "FLOW_INVALID"
    message = "The flow cannot be executed."

    def __init__(self, problems: list[FlowProblem]) -> None:
        super().__init__()
        first = [f"{problem.path or '/'}: {problem.message}" for problem in problems[:3]]
        self.args = ("; ".join(first),)
        self.problems = problems[:ERRORS]
        self.details = [msgspec.to_builtins(problem) for problem in self.problems]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the settings of all kinds of nodes. Misspelt settings are errors."""


class Exits(Enum):
    """How the edges out of a node are followed."""

    FIRST = "first"
    """The first edge whose condition holds, else the edge without a condition."""
    ALL = "all"
    """All edges at once. The branches join in a later node."""
    NEXT_TURN = "next turn"
    """As `FIRST`, but by the thread's next message; the node is repeated if no edge is followed.

    Such a node keeps its place in the state's `workflow`.
    """
    NONE = "none"
    """No edge leads on: the flow ends. If the setting `text` is None, the last text is repeated."""


def _no_problems(node: Node, specialists: Collection[str]) -> Iterable[FlowProblem]:
    return ()


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of node: one row in the table of kinds."""

    config: type[Config]
    """The settings of its nodes."""
    run: Callable[[Any], Awaitable[dict[str, Any]]]
    """Executes a node. Takes a `nodes.Visit` and returns an update of the flow's state.

    (A visit is declared as Any, so that definitions can be checked without importing LangGraph.)
    """
    check: Callable[[Node, Collection[str]], Iterable[FlowProblem]] = _no_problems
    """Reports what is wrong with a node's settings. Takes the node and the team's specialists."""
    templates: tuple[str, ...] = ()
    """Settings that are templates: texts, or objects whose values are texts."""
    role: str = "element"
    """The role in events. A `supporting` node that gives the answer is shown as `primary`."""
    speaks: bool = False
    """Whether the output is a text that can be the answer."""
    pauses: bool = False
    """Whether it waits for a human. A cycle through such a node needs no other bound."""
    entry: bool = False
    """Whether the flow begins here."""
    exits: Exits = Exits.FIRST
    prepare: Callable[[Node, Any], Any] | None = None
    """Makes what a node keeps between runs (`Visit.prepared`) from the node and the chat model."""
    enter: Callable[[Any], Awaitable[dict[str, Any]]] | None = None
    """Runs before `run`, once, even if `run` is started again after a crash."""
    aliases: tuple[str, ...] = ()
    """Other names of the type."""


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `index` is its position in the definition's list of nodes."""

    id: str
    type: str
    kind: Kind
    name: str
    config: Any
    index: int

    def problem(self, code: str, message: str, setting: str | None = None) -> FlowProblem:
        """Return a problem with the node, or with one of its settings."""
        path = f"/nodes/{self.index}" + (f"/config/{setting}" if setting else "")
        return FlowProblem(code=code, message=message, path=path, node=self.id)

    @property
    def repeats(self) -> bool:
        """Whether the node ends the flow with the text of the node before it."""
        return self.kind.exits is Exits.NONE and self.config.text is None

    @property
    def max_rounds(self) -> int | None:
        """How often a cycle may lead through the node's conditions; None if there is no bound."""
        rounds: int | None = getattr(self.config, "max_rounds", None)
        return rounds


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """An edge between two nodes. One without a condition is followed in all other cases."""

    source: str
    target: str
    condition: str | None
    index: int

    def problem(self, code: str, message: str) -> FlowProblem:
        """Return a problem with the edge."""
        path = f"/edges/{self.index}"
        return FlowProblem(code=code, message=message, path=path, node=self.source)


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The executable part of a definition. Nodes and edges keep the definition's order."""

    name: str
    nodes: dict[str, Node]
    edges: list[Edge]
    edges_out: dict[str, list[Edge]]
    edges_in: dict[str, list[Edge]]

    def out(self, node: str) -> list[Edge]:
        """Return the edges out of a node."""
        return self.edges_out.get(node, [])

    def into(self, node: str) -> list[Edge]:
        """Return the edges into a node."""
        return self.edges_in.get(node, [])

    @property
    def entries(self) -> list[Node]:
        """The nodes that the flow begins with: exactly one, if it can be executed."""
        return [node for node in self.nodes.values() if node.kind.entry]

    def with_exits(self, exits: Exits) -> list[Node]:
        """Return the nodes whose edges are followed in this way."""
        return [node for node in self.nodes.values() if node.kind.exits is exits]


def pointer(key: Any) -> str:
    """Return a key as one part of a JSON pointer, cut after 64 characters."""
    return str(key)[:64].replace("~", "~0").replace("/", "~1")
