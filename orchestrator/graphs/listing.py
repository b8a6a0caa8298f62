"""Reads a `langgraph.json`: its graphs, the folders of their modules, their environment.

Paths in the file are relative to its own folder.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import msgspec

from antiphon.orchestrator.graphs.environment import read_env_file, set_environment
from antiphon.orchestrator.graphs.served import OnCrash, State

log = logging.getLogger("antiphon.graphs")

IGNORED = (
    *("$schema", "python_version", "node_version", "api_version", "base_image", "image_distro"),
    *("pip_config_file", "pip_installer", "dockerfile_lines", "keep_pkg_tools"),
    *("ui", "ui_config", "_INTERNAL_docker_tag"),
)
"""Keys for building images and for user interfaces, which have no meaning here."""
WITHOUT_EFFECT = ("auth", "checkpointer", "encryption", "http", "webhooks")
"""Keys that configure LangGraph's own server. The log reports that they are ignored."""
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A graph of a `langgraph.json`. `state`, `on_crash` and `input` are our own settings.

    `ServedGraph` documents them.
    """

    path: str
    description: str | None = None
    state: State = "thread"
    on_crash: OnCrash = "resume"
    input: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a `langgraph.json` that are used here."""

    graphs: dict[str, str | Entry]
    dependencies: list[str] = []
    env: str | dict[str, str | int | float | bool | None] = {}
    store: dict[str, Any] | None = None


def read_listing(path: Path) -> tuple[dict[str, Entry], list[Path], dict[str, Any] | None]:
    """Return the graphs, the folders of modules, and the store's configuration.

    Sets the environment variables that the file gives. Raises `ValueError` if the file cannot be
    read, and `FileNotFoundError` for a missing folder.
    """
    try:
        raw = msgspec.json.decode(path.read_bytes())
        listing = msgspec.convert(raw, Listing)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not listing.graphs:
        raise ValueError(f"{path} names no graphs")
    _warn_of_keys(path, raw)
    folder = path.resolve().parent
    folders = _folders(path, folder, listing.dependencies)
    _set_environment(path, folder, listing.env)
    entries = {name: _entry(graph) for name, graph in listing.graphs.items()}
    return entries, folders, listing.store


def _entry(graph: str | Entry) -> Entry:
    return Entry(path=graph) if isinstance(graph, str) else graph


def _warn_of_keys(path: Path, raw: dict[str, Any]) -> None:
    """Log unknown keys, and keys that have no effect here."""
    _warn_of_unknown(path, raw, (*Listing.__struct_fields__, *IGNORED, *WITHOUT_EFFECT))
    for name, entry in raw["graphs"].items():
        if isinstance(entry, dict):
            _warn_of_unknown(path, entry, Entry.__struct_fields__, f" of graph {name!r}")
    if without := [key for key in WITHOUT_EFFECT if raw.get(key)]:
        log.warning("%s: %s has no effect here", path, ", ".join(without))


def _warn_of_unknown(
    path: Path, keys: Iterable[str], known: Collection[str], place: str = ""
) -> None:
    for key in keys:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            log.warning("%s: unknown key %r%s%s", path, key, place, hint)


def _folders(path: Path, folder: Path, dependencies: list[str]) -> list[Path]:
    """Return the folders of a project's modules: its local dependencies, and its own folder."""
    folders: list[Path] = []
    for dependency in dependencies:
        local = (folder / dependency).resolve()
        if local.is_dir():
            folders += with_src(local)
        elif not dependency.startswith("."):
            _warn_of_missing(path, dependency)
        elif not local.exists():
            raise FileNotFoundError(f"{path}: the dependency {dependency!r} is not there")
    return list(dict.fromkeys([*folders, *with_src(folder)]))


def with_src(folder: Path) -> list[Path]:
    """Return a project's folder, after its `src` if that exists and is not a package."""
    src = folder / "src"
    return [src, folder] if src.is_dir() and not (src / "__init__.py").exists() else [folder]


def _warn_of_missing(path: Path, requirement: str) -> None:
    """Log a package that is not installed. Importing the graph shows whether it is needed."""
    name = _PACKAGE.match(requirement)
    try:
        if name is not None and "://" not in requirement:
            distribution(name[0])
    except PackageNotFoundError:
        log.warning("%s: %r is not installed: pip install %r", path, requirement, requirement)


def _set_environment(path: Path, folder: Path, env: str | dict[str, Any]) -> None:
    if isinstance(env, dict):
        set_environment(env)
        return
    try:
        set_environment(read_env_file(folder / env))
    except FileNotFoundError:
        log.warning("%s: there is no environment file %r", path, env)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {env!r} cannot be read: {error}") from error
