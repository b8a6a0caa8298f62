"""What stands in the gallery: its files and projects, how they are loaded, and how they are
served.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from langgraph.pregel import Pregel

from tests.graphs.example import Example

GALLERY = Path(__file__).parent / "gallery"
PROJECT_ENVIRONMENT = {"WEATHER_UNITS": "degrees", "MEMORY_LIMIT": "10"}
"""What the projects' own `env` sets, for plain LangGraph; a server must find it there by itself."""


@dataclass(frozen=True)
class Entry:
    """One graph of the gallery."""

    name: str
    example: Example
    module: ModuleType


def names() -> list[str]:
    """Return the names of all graphs: the files, and the folders, each of which is a project."""
    files = (path.stem for path in GALLERY.glob("*.py"))
    return sorted([*files, *(path.parent.name for path in GALLERY.glob("*/shows.py"))])


def projects() -> list[Path]:
    """Return the `langgraph.json` of every project."""
    return sorted(GALLERY.glob("*/langgraph.json"))


def write_listing(folder: Path, entries: Iterable[Entry]) -> Path:
    """Write a `langgraph.json` of all graphs that are one file each, and return its path."""
    files = {entry.name: f"{GALLERY / entry.name}.py:{entry.example.graph}" for entry in entries}
    found = {name: spec for name, spec in files.items() if not (GALLERY / name).is_dir()}
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"graphs": found}, indent=1))
    return path


@contextmanager
def model_environment(base_url: str) -> Iterator[None]:
    """Set what graphs read at import, as long as the block lasts."""
    given = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "sk-gallery", **PROJECT_ENVIRONMENT}
    with pytest.MonkeyPatch.context() as patch:
        for name in [one for one in os.environ if one.startswith(("OPENAI_", "LANGSMITH_"))]:
            patch.delenv(name)
        for name, value in given.items():
            patch.setenv(name, value)
        yield


def load(name: str) -> Entry:
    """Import a graph; within `model_environment`."""
    folder = GALLERY / name
    shows = _import_file(
        f"gallery_{name}", folder / "shows.py" if folder.is_dir() else folder.with_suffix(".py")
    )
    example: Example = shows.SHOWS
    module = _import_from(folder, example.module) if example.module else shows
    return Entry(name, example, module)


def _import_file(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _import_from(project: Path, module: str) -> ModuleType:
    """Import a project's module as its users do, with its folder and its `src` on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(project))
        patch.syspath_prepend(str(project / "src"))
        return importlib.import_module(module)


@asynccontextmanager
async def made(
    entry: Entry, config: Mapping[str, Any]
) -> AsyncIterator[Pregel[Any, Any, Any, Any]]:
    """Give the graph of a file, whatever shape its factory has, while the block lasts."""
    found = getattr(entry.module, entry.example.graph)
    if not isinstance(found, Pregel):
        found = found(config) if inspect.signature(found).parameters else found()
    if inspect.isawaitable(found):
        found = await found
    if hasattr(found, "__aenter__"):
        async with found as graph:
            yield graph
    else:
        yield found
