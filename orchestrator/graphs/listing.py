"""Reads a `langgraph.json`: which graphs there are, where their modules are, what they need.

Paths in it are relative to its own folder.
"""

from __future__ import annotations

import difflib
import logging
import re
from collections.abc import Collection
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
"""Keys about building and showing, which have no meaning here."""
WITHOUT_EFFECT = ("auth", "checkpointer", "encryption", "http", "webhooks")
"""Keys that change what LangGraph's own server does; the log says that they change nothing here."""
_PACKAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A graph. `state`, `on_crash` and `input` are our own; see `ServedGraph`."""

    path: str
    description: str | None = None
    state: State = "thread"
    on_crash: OnCrash = "resume"
    input: str | None = None


class Listing(msgspec.Struct, frozen=True, kw_only=True):
    """What counts here of a `langgraph.json`."""

    graphs: dict[str, str | Entry]
    dependencies: list[str] = []
    env: str | dict[str, str | int | float | bool | None] = {}
    store: dict[str, Any] | None = None


def read_listing(path: Path) -> tuple[dict[str, Entry], list[Path], dict[str, Any] | None]:
    """The graphs of a `langgraph.json`, the folders of its modules, and its store's configuration.

    Its environment is set when this returns. Raises `ValueError` if it cannot be read, and
    `FileNotFoundError` for a folder that is not there.
    """
    try:
        raw = msgspec.json.decode(path.read_bytes())
        listing = msgspec.convert(raw, Listing)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not listing.graphs:
        raise ValueError(f"{path} names no graphs")
    _tell_unknown(path, raw)
    folder = path.resolve().parent
    folders = _folders(path, folder, listing.dependencies)
    _set_environment(path, folder, listing.env)
    graphs = listing.graphs.items()
    entries = {name: Entry(path=one) if isinstance(one, str) else one for name, one in graphs}
    return entries, folders, listing.store


def _tell_unknown(path: Path, raw: dict[str, Any]) -> None:
    """Log the keys that nobody knows, and those that change nothing here."""
    known = (*Listing.__struct_fields__, *IGNORED, *WITHOUT_EFFECT)
    _tell(path, raw, known)
    for name, entry in raw["graphs"].items():
        if isinstance(entry, dict):
            _tell(path, entry, Entry.__struct_fields__, f" of graph {name!r}")
    if without := [key for key in WITHOUT_EFFECT if raw.get(key)]:
        log.warning("%s: %s has no effect here", path, ", ".join(without))


def _tell(path: Path, found: Collection[str], known: Collection[str], where: str = "") -> None:
    for key in [one for one in found if one not in known]:
        near = difflib.get_close_matches(key, known, n=1)
        hint = f"; is {near[0]!r} meant?" if near else ""
        log.warning("%s: unknown key %r%s%s", path, key, where, hint)


def _folders(path: Path, folder: Path, dependencies: list[str]) -> list[Path]:
    """Where the modules of a project are: in its local dependencies, and in its own folder."""
    folders: list[Path] = []
    for dependency in dependencies:
        local = (folder / dependency).resolve()
        if local.is_dir():
            folders += with_src(local)
        elif not dependency.startswith("."):
            _tell_missing(path, dependency)
        elif not local.exists():
            raise FileNotFoundError(f"{path}: the dependency {dependency!r} is not there")
    return list(dict.fromkeys([*folders, *with_src(folder)]))


def with_src(folder: Path) -> list[Path]:
    """A project's folder, behind its `src` if it has one that is no package itself."""
    src = folder / "src"
    return [src, folder] if src.is_dir() and not (src / "__init__.py").exists() else [folder]


def _tell_missing(path: Path, requirement: str) -> None:
    """Log a package that is not installed. Whether a graph really needs it, its import shows."""
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
        log.warning("%s: the file of the environment, %r, is not there", path, env)
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {env!r} cannot be read: {error}") from error
