"""From what a user names to served graphs: files, modules, a `langgraph.json`, objects.

All graphs are found and named first, then imported. One that cannot be loaded stops the start, as
it does with LangGraph's server: with one line that says which, where and why.
"""

from __future__ import annotations

import importlib
import sysconfig
import traceback
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from antiphon.orchestrator.graphs.imports import Root, home_of, import_from, member_of, register
from antiphon.orchestrator.graphs.listing import read_listing, with_src
from antiphon.orchestrator.graphs.served import ServedGraph, serve_graph

UNNAMED = "LangGraph"
"""What LangGraph calls a graph that nobody has named."""
REASON_LIMIT = 300
"""Characters of an error's own text."""


class GraphError(ValueError):
    """A graph cannot be served. The text says in one line which, where and why."""


@dataclass
class Plan:
    """A graph that is to be served: what it may be called, the likeliest first, and where it is."""

    names: list[str]
    graph: Any = None
    """What is served, unless it is to be imported."""
    spec: str = ""
    """`path.py:name` or `package.module:name`; a path is relative to `base`."""
    base: Path = field(default_factory=Path)
    folders: list[Path] = field(default_factory=list)
    """Where modules are looked for, in this order."""
    options: dict[str, Any] = field(default_factory=dict)
    roots: list[Root] = field(default_factory=list)
    module: str = ""


def load_graphs(graphs: Iterable[Any]) -> list[ServedGraph]:
    """Load what somebody wants served, in its order.

    That is a graph, a builder, a factory, `path.py:name`, `package.module:name`, the path of a
    `langgraph.json`, or a pair of a name and one of these. Raises `GraphError`, `ValueError`,
    `FileNotFoundError`, and `TypeError` for what is no graph.
    """
    plans = [plan for given in graphs for plan in _plans(given)]
    named = list(zip(_distinct(plans), plans, strict=True))
    for name, plan in named:
        if plan.spec:
            _place(name, plan)
    return [_served(name, plan) for name, plan in named]


# -- what is to be served ------------------------------------------------------------------------


def _plans(given: Any) -> Iterator[Plan]:
    if isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], str):
        for plan in _plans(given[1]):
            plan.names = [given[0]]
            yield plan
    elif isinstance(given, ServedGraph):
        yield Plan([given.name], given)
    elif not isinstance(given, str | Path):
        name = getattr(given, "name", None) or getattr(given, "__name__", None)
        yield Plan([str(name or "graph")], given)
    elif str(given).endswith(".json"):
        yield from _listed(Path(given))
    else:
        yield Plan(_names_of(str(given)), spec=str(given), folders=with_src(Path.cwd()))


def _listed(path: Path) -> Iterator[Plan]:
    """The graphs of a `langgraph.json`."""
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
    """A store's configuration whose embedder, if it is a file, is found from anywhere."""
    index = store.get("index") if store else None
    if store is None or not isinstance(index, dict):
        return store
    embed = index.get("embed")
    if not isinstance(embed, str) or not _is_file(embed.rpartition(":")[0]):
        return store
    return store | {"index": index | {"embed": str(folder.resolve() / embed)}}


def _names_of(spec: str) -> list[str]:
    """What a graph may be called: as in its file, as its file or folder. Raises `ValueError`."""
    place, _, attribute = spec.rpartition(":")
    if not place or not attribute:
        raise ValueError(f"{spec!r} is not of the form path.py:name or package.module:name")
    path = Path(place) if _is_file(place) else Path(*place.split("."))
    folder = path.absolute().parent.name
    return [attribute, path.stem, *([folder] if folder else [])]


def _is_file(place: str) -> bool:
    """Whether a spec names a file, rather than a module."""
    return "/" in place or Path(place).suffix in (".py", ".ipynb", ".js", ".ts", ".mjs", ".tsx")


def _distinct(plans: Sequence[Plan]) -> list[str]:
    """A name for each graph: the likeliest that no other one has, as far as there is one."""
    unnamed = [plan for plan in plans if plan.names == [UNNAMED]]
    for number, plan in enumerate(unnamed, 1):
        plan.names.append(f"{UNNAMED}-{number}")
    chosen = [0] * len(plans)
    while True:
        names = [plan.names[place] for plan, place in zip(plans, chosen, strict=True)]
        movable = [
            position
            for position, plan in enumerate(plans)
            if names.count(names[position]) > 1 and chosen[position] + 1 < len(plan.names)
        ]
        if not movable:
            return names
        for position in movable:
            chosen[position] += 1


# -- where it is ---------------------------------------------------------------------------------


def _place(name: str, plan: Plan) -> None:
    """Find out how a graph's module is imported. Raises `FileNotFoundError` and `ValueError`."""
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
    is_project = folder / package in folders  # then the folder around it is no part of the project
    plan.roots = [register(folder, folders, name, package if is_project else None)]


def import_object(spec: str) -> Any:
    """What `path.py:name` or `package.module:name` names, imported as graphs are, and after them.

    Raises `FileNotFoundError`, `ValueError`, and whatever the module raises.
    """
    plan = Plan(_names_of(spec), spec=spec, folders=with_src(Path.cwd()))
    _place(plan.names[0], plan)
    return _imported(plan)


def _served(name: str, plan: Plan) -> ServedGraph:
    if isinstance(plan.graph, ServedGraph):
        return plan.graph
    try:
        found = _imported(plan) if plan.spec else plan.graph
        return serve_graph(name, found, **plan.options)
    except (Exception, SystemExit) as error:
        where = f"graph {name!r}{f' ({plan.spec})' if plan.spec else ''}"
        place = _place_of(error)
        if place is None and isinstance(error, TypeError | ValueError):  # it is our own
            raise type(error)(f"{where}: {error}") from error
        line = f"{place}: " if place else ""
        raise GraphError(f"{where} cannot be loaded: {line}{reason_of(error)}") from error


def _imported(plan: Plan) -> Any:
    attribute = plan.spec.rpartition(":")[2]
    root, name = home_of(plan.module, plan.roots), plan.module
    module = importlib.import_module(name) if root is None else import_from(root, name)
    if not hasattr(module, attribute):
        raise ValueError(f"{_shown(Path(module.__file__ or name))} has no {attribute!r}")
    return getattr(module, attribute)


# -- what is wrong -------------------------------------------------------------------------------


def _place_of(error: BaseException) -> str | None:
    """The file and line of the user's where an error was raised; None if it was raised by us."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{_shown(Path(error.filename))}, line {error.lineno}"
    libraries = (sysconfig.get_path(one) for one in ("stdlib", "purelib", "platlib"))
    others = (*libraries, str(Path(__file__).parents[1]), "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not frame.filename.startswith(others):
            return f"{_shown(Path(frame.filename))}, line {frame.lineno}"
    return None


def reason_of(error: BaseException) -> str:
    """What is wrong, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:REASON_LIMIT]}" if text else type(error).__name__


def _shown(path: Path) -> Path:
    """A path as the user would write it."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path
