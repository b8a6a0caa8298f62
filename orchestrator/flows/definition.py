"""What a flow is: nodes with a type and a configuration, edges with optional conditions. Pure.

A definition is kept as the plain value that the user's editor made of it, with whatever else the editor keeps there
(positions, sizes, colours); what is read here is only what can be executed. Everything that is wrong is found at once,
each error with its place as a JSON pointer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from math import isfinite
from typing import Any, Literal

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
"""Whole numbers are smaller than this, without their sign."""
ERRORS = 20
"""Errors that are told at once."""
NODE_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


class FlowProblem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One error of a definition. `path` is a JSON pointer; `line` and `column` its place where there is a text.

    `within` is `(line, column)` inside an expression or a template. All count from 1.
    """

    code: str
    message: str
    path: str = ""
    node: str | None = None
    line: int | None = None
    column: int | None = None
    within: tuple[int, int] | None = None


class FlowInvalid(AntiphonError, ValueError):
    """A definition that cannot be executed; `problems` says why."""

    code = "FLOW_INVALID"
    message = "The flow cannot be executed."

    def __init__(self, problems: list[FlowProblem]) -> None:
        super().__init__()
        self.args = ("; ".join(f"{one.path or '/'}: {one.message}" for one in problems[:3]),)
        self.problems = problems[:ERRORS]
        self.details = [msgspec.to_builtins(problem) for problem in self.problems]


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what nodes are configured with. Misspelt settings are errors."""


class InputConfig(Config, frozen=True):
    """Where the message comes in."""


class FlowClass(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of the classes that a classifier chooses from."""

    name: str
    description: str = ""
    examples: list[str] = []


class ClassifierConfig(Config, frozen=True):
    """Chooses one of some classes; its output is the class's name. `text` is what is classified: the message."""

    classes: list[FlowClass]
    text: str = "{{ message }}"


class RetrieverConfig(Config, frozen=True):
    """Finds passages; they are the sources of all agents behind it."""

    query: str = "{{ message }}"


class AgentConfig(Config, frozen=True):
    """Asks the model. `agent` takes a specialist of the team; `prompt` says how it is to behave.

    `tokens`, `sentences` and `seconds` limit what it says.
    """

    agent: str | None = None
    prompt: str = ""
    question: str = "{{ message }}"
    tokens: int | None = None
    sentences: int | None = None
    seconds: float = 120


class ParallelConfig(Config, frozen=True):
    """Goes all ways at once."""


class ConditionConfig(Config, frozen=True):
    """Goes the first way whose condition holds. `max_rounds` bounds a cycle through it."""

    max_rounds: int | None = None


class TemplateConfig(Config, frozen=True):
    """Makes a text."""

    template: str


class ToolConfig(Config, frozen=True):
    """Calls one of the server's own tools; arguments are templates."""

    tool: Literal["calculate", "search", "count_words", "today"]
    arguments: dict[str, str] = {}


class ApprovalConfig(Config, frozen=True):
    """Asks a human and waits; its output is the answer."""

    question: str
    options: list[str] = []


class SynthesisConfig(Config, frozen=True):
    """One answer out of what all agents before it have said."""

    prompt: str = ""
    question: str = "{{ message }}"
    tokens: int | None = None
    sentences: int | None = None
    seconds: float = 120


class StepConfig(Config, frozen=True):
    """A part of a conversation that lasts for one or more turns, until a condition of a way out of it holds.

    `goal` is what is to be found out or told, `guidelines` how. It says `sentences` sentences and `tokens` tokens.
    """

    goal: str
    guidelines: str = ""
    tokens: int = 300
    sentences: int = 2
    seconds: float = 120


class OutputConfig(Config, frozen=True):
    """What is answered: `text`, or what the node before it has said."""

    text: str | None = None


CONFIGS: dict[str, type[Config]] = {
    "input": InputConfig,
    "classifier": ClassifierConfig,
    "retriever": RetrieverConfig,
    "agent": AgentConfig,
    "parallel": ParallelConfig,
    "condition": ConditionConfig,
    "template": TemplateConfig,
    "tool": ToolConfig,
    "approval": ApprovalConfig,
    "synthesis": SynthesisConfig,
    "step": StepConfig,
    "output": OutputConfig,
}
"""The types of nodes."""

ALIASES = {"human_approval": "approval", "human": "approval", "llm": "agent", "workflow_step": "step"}
"""Other names of types."""

TEMPLATES: dict[type[Config], tuple[str, ...]] = {
    ClassifierConfig: ("text",),
    RetrieverConfig: ("query",),
    AgentConfig: ("prompt", "question"),
    TemplateConfig: ("template",),
    ApprovalConfig: ("question",),
    SynthesisConfig: ("prompt", "question"),
    StepConfig: ("goal", "guidelines"),
    OutputConfig: ("text",),
}
"""Settings that are templates."""

TOOL_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "calculate": ("expression",),
    "search": ("query",),
    "count_words": ("text",),
    "today": (),
}
"""What each tool has to be given."""

BOUNDS: dict[str, tuple[float, float]] = {
    "tokens": (1, 100_000),
    "sentences": (1, 1_000),
    "seconds": (1, 600),
    "max_rounds": (1, 20),
}


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One node; `index` is its place in the definition."""

    id: str
    type: str
    name: str
    config: Any
    index: int


class Edge(msgspec.Struct, frozen=True, kw_only=True):
    """One way from a node to another; without a condition it is the one for all other cases."""

    source: str
    target: str
    condition: str | None
    index: int


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """What can be executed of a definition."""

    name: str
    nodes: dict[str, Node]
    edges: list[Edge]
    ways_out: dict[str, list[Edge]]
    ways_in: dict[str, list[Edge]]

    def out(self, node: str) -> list[Edge]:
        """The ways out of a node, in order."""
        return self.ways_out.get(node, [])

    def into(self, node: str) -> list[Edge]:
        """The ways into a node, in order."""
        return self.ways_in.get(node, [])

    def of_type(self, *types: str) -> list[Node]:
        """The nodes of some types, in order."""
        return [node for node in self.nodes.values() if node.type in types]


def read_flow(raw: Any) -> tuple[Flow, list[FlowProblem]]:
    """The nodes and edges of a definition that can be read, and what cannot. Raises `FlowInvalid` where nothing can."""
    if not isinstance(raw, dict):
        raise FlowInvalid([FlowProblem(code="WRONG_TYPE", message="A flow is an object with nodes and edges.")])
    nodes_in, edges_in = raw.get("nodes"), raw.get("edges", [])
    if not isinstance(nodes_in, list) or not isinstance(edges_in, list):
        place = "/nodes" if not isinstance(nodes_in, list) else "/edges"
        raise FlowInvalid([FlowProblem(code="WRONG_TYPE", message="This must be a list.", path=place)])
    if len(nodes_in) > NODES:
        raise FlowInvalid([_too_large("/nodes", NODES, len(nodes_in))])
    if len(edges_in) > EDGES:
        raise FlowInvalid([_too_large("/edges", EDGES, len(edges_in))])
    if problems := list(_unfit(raw)):
        raise FlowInvalid(problems)
    name = raw.get("name", "")
    if not isinstance(name, str) or len(name) > 200:
        problems.append(FlowProblem(code="WRONG_TYPE", message="A name has at most 200 characters.", path="/name"))
        name = ""
    nodes: dict[str, Node] = {}
    for index, one in enumerate(nodes_in):
        node, wrong = _read_node(one, index)
        problems += wrong
        if node is not None and node.id in nodes:
            problems.append(
                FlowProblem(code="DUPLICATE_ID", message="Another node has this id.", path=f"/nodes/{index}/id")
            )
        elif node is not None:
            nodes[node.id] = node
    known = {one.get("id") for one in nodes_in if isinstance(one, dict) and isinstance(one.get("id"), str)}
    flow = Flow(name=name, nodes=nodes, edges=[], ways_out={}, ways_in={})
    for index, one in enumerate(edges_in):
        edge, wrong = _read_edge(one, index, known)
        problems += wrong
        if edge is not None:
            flow.edges.append(edge)
            flow.ways_out.setdefault(edge.source, []).append(edge)
            flow.ways_in.setdefault(edge.target, []).append(edge)
    return flow, problems


def _too_large(path: str, limit: int, count: int) -> FlowProblem:
    return FlowProblem(code="TOO_LARGE", message=f"At most {limit} are allowed; there are {count}.", path=path)


def _unfit(raw: Any) -> Iterator[FlowProblem]:
    """The first place where a definition is too large, too deep, or holds what cannot be stored."""
    waiting: list[tuple[str, Any, int]] = [("", raw, 0)]
    values = size = 0
    while waiting:
        path, value, depth = waiting.pop()
        texts: list[Any] = []
        if isinstance(value, dict | list):
            values += len(value)
            if values > VALUES or depth == DEPTH:
                message = f"At most {VALUES} values and {DEPTH} levels are allowed."
                yield FlowProblem(code="TOO_LARGE", message=message, path=path)
                return
            texts = list(value) if isinstance(value, dict) else []
            items = value.items() if isinstance(value, dict) else enumerate(value)
            waiting += reversed([(f"{path}/{pointer(key)}", one, depth + 1) for key, one in items])
        elif isinstance(value, str):
            texts = [value]
        elif (isinstance(value, int) and abs(value) >= INTEGER) or (isinstance(value, float) and not isfinite(value)):
            yield FlowProblem(code="TOO_LARGE", message="This number is too large.", path=path)
            return
        size += sum(len(text) for text in texts if isinstance(text, str))
        if size > SIZE:
            yield FlowProblem(code="TOO_LARGE", message=f"A flow has at most {SIZE} bytes.", path=path)
            return
        if not all(isinstance(text, str) and not _UNREADABLE.search(text) for text in texts):
            yield FlowProblem(code="BAD_TEXT", message="This holds a character that cannot be stored.", path=path)
            return


def pointer(key: Any) -> str:
    """A key as a JSON pointer has it."""
    return str(key)[:64].replace("~", "~0").replace("/", "~1")


def _read_node(one: Any, index: int) -> tuple[Node | None, list[FlowProblem]]:
    path = f"/nodes/{index}"
    if not isinstance(one, dict):
        return None, [FlowProblem(code="WRONG_TYPE", message="A node is an object.", path=path)]
    id_, type_ = one.get("id"), one.get("type")
    if not isinstance(id_, str) or not NODE_ID.fullmatch(id_):
        message = "An id has 1 to 64 letters, digits, _ or -."
        return None, [FlowProblem(code="BAD_ID", message=message, path=f"{path}/id")]
    kind = ALIASES.get(type_, type_) if isinstance(type_, str) else None
    if kind not in CONFIGS:
        message = f"There is no such type of node; there are {', '.join(CONFIGS)}."
        return None, [FlowProblem(code="UNKNOWN_TYPE", message=message, path=f"{path}/type", node=id_)]
    name = one.get("name", id_)
    if not isinstance(name, str) or len(name) > 200:
        message = "A name is a text of at most 200 characters."
        return None, [FlowProblem(code="WRONG_TYPE", message=message, path=f"{path}/name", node=id_)]
    given = one.get("config")
    try:
        config = msgspec.convert({} if given is None else given, CONFIGS[kind])
    except msgspec.ValidationError as error:
        message, inside = _told(error)
        return None, [FlowProblem(code="BAD_CONFIG", message=message, path=f"{path}/config{inside}", node=id_)]
    node = Node(id=id_, type=kind, name=name or id_, config=config, index=index)
    return node, list(_out_of_bounds(node))


def _told(error: msgspec.ValidationError) -> tuple[str, str]:
    """msgspec's message and the place that it names, as a pointer; items of an object have no place of their own."""
    message, _, place = str(error).rpartition(" - at `$")
    if not message:
        message, place = place, ""
    inside = re.sub(r"\[(\d+)\]", r"/\1", place.partition("[...]")[0].rstrip("`")).replace(".", "/")
    return f"{message[:200]}.", inside


def _out_of_bounds(node: Node) -> Iterator[FlowProblem]:
    for field, (least, most) in BOUNDS.items():
        value = getattr(node.config, field, None)
        if value is not None and not least <= value <= most:
            message = f"{field} must be {least:g} to {most:g}."
            yield FlowProblem(
                code="BAD_CONFIG", message=message, path=f"/nodes/{node.index}/config/{field}", node=node.id
            )


def _read_edge(one: Any, index: int, known: set[Any]) -> tuple[Edge | None, list[FlowProblem]]:
    path = f"/edges/{index}"
    if not isinstance(one, dict):
        return None, [FlowProblem(code="WRONG_TYPE", message="An edge is an object.", path=path)]
    problems = [
        FlowProblem(code="UNKNOWN_NODE", message="There is no such node.", path=f"{path}/{end}")
        for end in ("source", "target")
        if not isinstance(one.get(end), str) or one[end] not in known
    ]
    condition = one.get("condition")
    if condition is not None and not isinstance(condition, str):
        problems.append(
            FlowProblem(code="WRONG_TYPE", message="A condition is an expression.", path=f"{path}/condition")
        )
    if problems:
        return None, problems
    return Edge(source=one["source"], target=one["target"], condition=condition or None, index=index), []
