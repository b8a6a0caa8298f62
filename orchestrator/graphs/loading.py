"""Loads the graphs to serve from files, modules, a `langgraph.json`, or objects.

All graphs are located and named first, then imported. A graph that cannot be loaded stops the
start, as it does in LangGraph's server, with one line that names the graph, the place and the
reason.
"""

from __future__ import annotations

import importlib
import logging
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from antiphon.orchestrator.graphs.imports import Root, home_of, import_from, member_of, register
from antiphon.orchestrator.graphs.inputs import form_of
from antiphon.orchestrator.graphs.listing import read_listing, with_src
from antiphon.orchestrator.graphs.served import ServedGraph, serve_graph

log = logging.getLogger("antiphon.graphs")

UNNAMED = "LangGraph"
"""LangGraph's name for a graph without one."""
REASON_LIMIT = 300
"""Characters of an error's own text that are reported."""


class GraphError(ValueError):
    """A graph cannot be served. The text names the graph, the place and the reason in one line."""


@dataclass
class Plan:
    """A graph to serve: its possible names, the likeliest first, and where it is."""

    names: list[str]
    graph: Any = None
    """The graph itself, unless it is to be imported."""
    spec: str = ""
    """`path.py:name` or `package.module:name`; a path is relative to `base`."""
    base: Path = field(default_factory=Path)
    folders: list[Path] = field(default_factory=list)
    """Folders to search for modules, in this order."""
    options: dict[str, Any] = field(default_factory=dict)
    roots: list[Root] = field(default_factory=list)
    module: str = ""


def load_graphs(graphs: Iterable[Any]) -> list[ServedGraph]:
    """Load graphs, in order.

    Each is a graph, a builder, a factory, `path.py:name`, `package.module:name`, the path of a
    `langgraph.json`, or a pair of a name and one of these. Raises `GraphError`, `ValueError`,
    `FileNotFoundError`, and `TypeError` for an object that is not a graph.
    """
    plans = [plan for source in graphs for plan in _plans(source)]
    named = list(zip(_distinct(plans), plans, strict=True))
    for name, plan in named:
        if plan.spec:
            _place(name, plan)
    return [_served(name, plan) for name, plan in named]


# -- what to serve -------------------------------------------------------------------------------


def _plans(source: Any) -> Iterator[Plan]:
    if isinstance(source, tuple) and len(source) == 2 and isinstance(source[0], str):
        for plan in _plans(source[1]):
            plan.names = [source[0]]
            yield plan
    elif isinstance(source, ServedGraph):
        yield Plan([source.name], source)
    elif not isinstance(source, str | Path):
        name = getattr(source, "name", None) or getattr(source, "__name__", None)
        yield Plan([str(name or "graph")], source)
    elif str(source).endswith(".json"):
        yield from _listed(Path(source))
    else:
        yield Plan(_names_of(str(source)), spec=str(source), folders=with_src(Path.cwd()))


def _listed(path: Path) -> Iterator[Plan]:
    """Yield the graphs of a `langgraph.json`."""
    entries, folders, store = read_listing(path)
    store = _with_place(store, path.parent)
    for name, entry in entries.items():
        try:
            _names_of(entry.path)
        except ValueError as error:
            raise ValueError(f"{path}: graph {name!r}: {error}") from None
        options = msgspec.structs.asdict(entry) | {"store": store}
        spec = options.pop("path")
        yield Plan([name], spec=spec, base=path.parent, folders=folders, options=options)


def _with_place(store: dict[str, Any] | None, folder: Path) -> dict[str, Any] | None:
    """Return a store's configuration with an absolute path for an embedder in a file."""
    index = store.get("index") if store else None
    if store is None or not isinstance(index, dict):
        return store
    embed = index.get("embed")
    if not isinstance(embed, str) or not _is_file(embed.rpartition(":")[0]):
        return store
    return store | {"index": index | {"embed": str(folder.resolve() / embed)}}


def _names_of(spec: str) -> list[str]:
    """Return possible names: the variable's, the file's, the folder's. Raises `ValueError`."""
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute:
        raise ValueError(f"{spec!r} is not of the form path.py:name or package.module:name")
    path = Path(place) if _is_file(place) else Path(*place.split("."))
    folder = path.absolute().parent.name
    return [attribute, path.stem, *([folder] if folder else [])]


def _is_file(place: str) -> bool:
    """Return whether the first part of a spec is a file, not a module."""
    return "/" in place or Path(place).suffix in (".py", ".ipynb", ".js", ".ts", ".mjs", ".tsx")


def _distinct(plans: Sequence[Plan]) -> list[str]:
    """Return a name for each graph: the likeliest one that no other graph has, if any."""
    unnamed = [plan for plan in plans if plan.names == [UNNAMED]]
    for number, plan in enumerate(unnamed, 1):
        plan.names.append(f"{UNNAMED}-{number}")
    chosen = [0] * len(plans)
    while True:
        names = [plan.names[place] for plan, place in zip(plans, chosen, strict=True)]
        shared = [position for position, name in enumerate(names) if names.count(name) > 1]
        movable = [place for place in shared if chosen[place] + 1 < len(plans[place].names)]
        if not movable:
            return names
        for position in movable:
            chosen[position] += 1


# -- where it is ---------------------------------------------------------------------------------


def _place(name: str, plan: Plan) -> None:
    """Register the folders of a graph's module. Raises `FileNotFoundError` and `ValueError`."""
    place = plan.spec.rpartition(":")[0]
    folders = [folder.resolve() for folder in plan.folders]
    if not _is_file(place):
        plan.roots = [register(folder, folders, name) for folder in folders]
        plan.module = place
        return
    path = (plan.base / place).resolve()
    if not path.is_file():
        raise FileNotFoundError(f"graph {name!r}: there is no file {_shown(path)}")
    folder, plan.module = member_of(path)
    if path.suffix != ".py" or "." in path.stem:
        raise ValueError(f"graph {name!r}: {_shown(path)} is not a Python module")
    package = plan.module.partition(".")[0]
    is_project = folder / package in folders  # then the folder around it is not part of it
    plan.roots = [register(folder, folders, name, package if is_project else None)]


def import_object(spec: str) -> Any:
    """Import `path.py:name` or `package.module:name` as graphs are imported; call it after them.

    Raises `FileNotFoundError`, `ValueError`, and whatever the module raises.
    """
    plan = Plan(_names_of(spec), spec=spec, folders=with_src(Path.cwd()))
    _place(plan.names[0], plan)
    return _imported(plan)


def _served(name: str, plan: Plan) -> ServedGraph:
    if isinstance(plan.graph, ServedGraph):
        return plan.graph
    try:
        graph = _imported(plan) if plan.spec else plan.graph
        served = serve_graph(name, graph, **plan.options)
    except (Exception, SystemExit) as error:
        where = f"graph {name!r}{f' ({plan.spec})' if plan.spec else ''}"
        place = _place_of(error)
        if place is None and isinstance(error, TypeError | ValueError):  # raised by us
            raise type(error)(f"{where}: {error}") from error
        line = f"{place}: " if place else ""
        raise GraphError(f"{where} cannot be loaded: {line}{reason_of(error)}") from error
    _warn_of_no_target(served, plan.spec)
    return served


def _warn_of_no_target(served: ServedGraph, spec: str) -> None:
    """Log the line to write if no field of a graph's input evidently takes the message."""
    if served.graph is None:
        return  # a graph of its own for each run
    form = form_of(served.graph, served.input)
    if form.target is None and form.candidates:
        field = form.candidates[0]
        entry = {"path": spec, "input": field}
        listing = msgspec.json.encode({"graphs": {served.name: entry}}).decode()
        line = f"in langgraph.json {listing}" if spec else f"serve_graph(..., input={field!r})"
        log.warning(
            "graph %r refuses messages without `inputs`: its input has %s, and none of them"
            " evidently takes the message. To name the one that does, write %s",
            *(served.name, form.names, line),
        )


def _imported(plan: Plan) -> Any:
    attribute = plan.spec.rpartition(":")[2]
    root, name = home_of(plan.module, plan.roots), plan.module
    module = importlib.import_module(name) if root is None else import_from(root, name)
    if not hasattr(module, attribute):
        raise ValueError(f"{_shown(Path(module.__file__ or name))} has no {attribute!r}")
    return getattr(module, attribute)


# -- what is wrong -------------------------------------------------------------------------------


def _place_of(error: BaseException) -> str | None:
    """Return the user's file and line in which an error was raised; None if we raised it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(Path(error.filename))}, line {error.lineno}"
    libraries = map(sysconfig.get_path, ("stdlib", "purelib", "platlib"))
    others = (*libraries, str(Path(__file__).parents[1]), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(others):
            return f"{_shown(Path(frame.filename))}, line {frame.lineno}"
    return None


def reason_of(error: BaseException) -> str:
    """Return an error's class and text in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:REASON_LIMIT]}" if text else type(error).__name__


def _shown(path: Path) -> Path:
    """Return a path relative to the current folder if it is inside."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
