"""Reads a user's definition: a plain value with a list of nodes and a list of edges. Pure.

A definition is stored as the user's editor made it, with whatever else the editor keeps there
(positions, sizes, colours). Only what can be executed is read here. All problems are reported at
once, each with its place as a JSON pointer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import isfinite
from typing import Any

import msgspec

from antiphon.orchestrator.flows.definition import (
    BOUNDS,
    DEPTH,
    EDGES,
    INTEGER,
    NODE_ID,
    NODES,
    SIZE,
    VALUES,
    Config,
    Edge,
    Flow,
    FlowInvalid,
    FlowProblem,
    Kind,
    Node,
    pointer,
)

_UNREADABLE = re.compile("[\x00\ud800-\udfff]")


def read_flow(raw: Any, kinds: Mapping[str, Kind]) -> tuple[Flow, list[FlowProblem]]:
    """Return the readable nodes and edges of a definition, and the problems with all others.

    Raises `FlowInvalid` if nothing can be read.
    """
    raw_nodes, raw_edges = _read_lists(raw)
    if problem := _unfit(raw):
        raise FlowInvalid([problem])
    reader = _FlowReader(kinds)
    flow = Flow(
        name=reader.name(raw.get("name", "")),
        nodes=reader.nodes(raw_nodes),
        edges=reader.edges(raw_edges, _ids(raw_nodes)),
        edges_out={},
        edges_in={},
    )
    for edge in flow.edges:
        flow.edges_out.setdefault(edge.source, []).append(edge)
        flow.edges_in.setdefault(edge.target, []).append(edge)
    return flow, reader.problems


def _read_lists(raw: Any) -> tuple[list[Any], list[Any]]:
    """Return the raw nodes and edges. Raises `FlowInvalid` if they are no lists, or too long."""
    if not isinstance(raw, dict):
        raise _invalid("WRONG_TYPE", "A flow is an object with nodes and edges.", "")
    nodes, edges = raw.get("nodes"), raw.get("edges", [])
    if not isinstance(nodes, list):
        raise _invalid("WRONG_TYPE", "This must be a list.", "/nodes")
    if not isinstance(edges, list):
        raise _invalid("WRONG_TYPE", "This must be a list.", "/edges")
    if len(nodes) > NODES:
        raise _invalid("TOO_LARGE", _at_most(NODES, len(nodes)), "/nodes")
    if len(edges) > EDGES:
        raise _invalid("TOO_LARGE", _at_most(EDGES, len(edges)), "/edges")
    return nodes, edges


def _invalid(code: str, message: str, path: str) -> FlowInvalid:
    return FlowInvalid([FlowProblem(code=code, message=message, path=path)])


def _at_most(limit: int, count: int) -> str:
    return f"At most {limit} are allowed; there are {count}."


def _ids(raw_nodes: list[Any]) -> set[str]:
    """Return the ids of all nodes, also of those that cannot be read."""
    ids = [node.get("id") for node in raw_nodes if isinstance(node, dict)]
    return {id_ for id_ in ids if isinstance(id_, str)}


def _unfit(raw: Any) -> FlowProblem | None:
    """Return the first place that is too large, too deep, or holds what cannot be stored."""
    waiting: list[tuple[str, Any, int]] = [("", raw, 0)]
    values = size = 0
    while waiting:
        path, value, depth = waiting.pop()
        if isinstance(value, dict | list):
            values += len(value)
            if values > VALUES or depth == DEPTH:
                message = f"At most {VALUES} values and {DEPTH} levels are allowed."
                return FlowProblem(code="TOO_LARGE", message=message, path=path)
            items = list(value.items() if isinstance(value, dict) else enumerate(value))
            waiting += [(f"{path}/{pointer(key)}", item, depth + 1) for key, item in items[::-1]]
        elif _is_too_large(value):
            message = "This number is too large."
            return FlowProblem(code="TOO_LARGE", message=message, path=path)
        texts = _texts(value)
        size += sum(len(text) for text in texts if isinstance(text, str))
        if size > SIZE:
            message = f"A flow has at most {SIZE} bytes."
            return FlowProblem(code="TOO_LARGE", message=message, path=path)
        if not all(isinstance(text, str) and not _UNREADABLE.search(text) for text in texts):
            message = "This holds a character that cannot be stored."
            return FlowProblem(code="BAD_TEXT", message=message, path=path)
    return None


def _texts(value: Any) -> list[Any]:
    """Return what must be text in a value itself: the value, or the keys of an object."""
    if isinstance(value, dict):
        return list(value)
    return [value] if isinstance(value, str) else []


def _is_too_large(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) >= INTEGER
    return isinstance(value, float) and not isfinite(value)


class _FlowReader:
    """Reads the parts of a definition, and collects the problems."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self.problems: list[FlowProblem] = []
        self._kinds = kinds
        self._types = {name: name for name in kinds}
        for name, kind in kinds.items():
            self._types |= dict.fromkeys(kind.aliases, name)

    def name(self, raw: Any) -> str:
        if isinstance(raw, str) and len(raw) <= 200:
            return raw
        self._report("WRONG_TYPE", "A name has at most 200 characters.", "/name")
        return ""

    def nodes(self, raw_nodes: list[Any]) -> dict[str, Node]:
        nodes: dict[str, Node] = {}
        for index, raw in enumerate(raw_nodes):
            node = self._node(raw, index)
            if node is not None and node.id in nodes:
                self._report("DUPLICATE_ID", "Another node has this id.", f"/nodes/{index}/id")
            elif node is not None:
                nodes[node.id] = node
        return nodes

    def edges(self, raw_edges: list[Any], ids: set[str]) -> list[Edge]:
        edges = [self._edge(raw, index, ids) for index, raw in enumerate(raw_edges)]
        return [edge for edge in edges if edge is not None]

    def _report(self, code: str, message: str, path: str, node: str | None = None) -> None:
        self.problems.append(FlowProblem(code=code, message=message, path=path, node=node))

    def _node(self, raw: Any, index: int) -> Node | None:
        path = f"/nodes/{index}"
        if not isinstance(raw, dict):
            self._report("WRONG_TYPE", "A node is an object.", path)
            return None
        id_, raw_type = raw.get("id"), raw.get("type")
        if not isinstance(id_, str) or not NODE_ID.fullmatch(id_):
            self._report("BAD_ID", "An id has 1 to 64 letters, digits, _ or -.", f"{path}/id")
            return None
        type_ = self._types.get(raw_type) if isinstance(raw_type, str) else None
        if type_ is None:
            message = f"There is no such type of node; there are {', '.join(self._kinds)}."
            self._report("UNKNOWN_TYPE", message, f"{path}/type", id_)
            return None
        name = raw.get("name", id_)
        if not isinstance(name, str) or len(name) > 200:
            message = "A name is a text of at most 200 characters."
            self._report("WRONG_TYPE", message, f"{path}/name", id_)
            return None
        kind = self._kinds[type_]
        config = self._config(raw.get("config"), kind, f"{path}/config", id_)
        if config is None:
            return None
        return Node(id=id_, type=type_, kind=kind, name=name or id_, config=config, index=index)

    def _config(self, raw: Any, kind: Kind, path: str, node: str) -> Config | None:
        """Read a node's settings. Report values out of bounds, but return them."""
        try:
            config = msgspec.convert({} if raw is None else raw, kind.config)
        except msgspec.ValidationError as error:
            message, place = _explain(error)
            self._report("BAD_CONFIG", message, f"{path}{place}", node)
            return None
        for field, (least, most) in BOUNDS.items():
            value = getattr(config, field, None)
            if value is not None and not least <= value <= most:
                message = f"{field} must be {least:g} to {most:g}."
                self._report("BAD_CONFIG", message, f"{path}/{field}", node)
        return config

    def _edge(self, raw: Any, index: int, ids: set[str]) -> Edge | None:
        path = f"/edges/{index}"
        if not isinstance(raw, dict):
            self._report("WRONG_TYPE", "An edge is an object.", path)
            return None
        source: Any = raw.get("source")
        target: Any = raw.get("target")
        is_between_nodes = True
        for end, id_ in (("source", source), ("target", target)):
            if not isinstance(id_, str) or id_ not in ids:
                self._report("UNKNOWN_NODE", "There is no such node.", f"{path}/{end}")
                is_between_nodes = False
        condition = raw.get("condition")
        if condition is not None and not isinstance(condition, str):
            self._report("WRONG_TYPE", "A condition is an expression.", f"{path}/condition")
            return None
        if not is_between_nodes:
            return None
        return Edge(source=source, target=target, condition=condition or None, index=index)


def _explain(error: msgspec.ValidationError) -> tuple[str, str]:
    """Return msgspec's message, and the place that it names as a JSON pointer.

    msgspec names no place for the items of an object (`$.arguments[...]`).
    """
    message, _, place = str(error).rpartition(" - at `$")
    if not message:
        message, place = place, ""
    place = place.partition("[...]")[0].rstrip("`")
    return f"{message[:200]}.", re.sub(r"\[(\d+)\]", r"/\1", place).replace(".", "/")
