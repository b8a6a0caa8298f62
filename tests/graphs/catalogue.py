"""What stands in the gallery: its files and projects, how they are loaded, and how they are served."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
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
"""What the projects' own `env` sets; the server must find it there by itself."""


@dataclass(frozen=True)
class Entry:
    """One graph of the gallery."""

    name: str
    text: str
    example: Example
    module: ModuleType


def names() -> list[str]:
    """Return the names of all graphs: the files, and the folders, each of which is a project."""
    files = (path.stem for path in GALLERY.glob("*.py"))
    return sorted([*files, *(path.parent.name for path in GALLERY.glob("*/shows.py"))])


def projects() -> list[Path]:
    """Return the `langgraph.json` of every project."""
    return sorted(GALLERY.glob("*/langgraph.json"))


def listing() -> dict[str, Any]:
    """Return the `langgraph.json` of all graphs that are one file each."""
    files = (name for name in names() if not (GALLERY / name).is_dir())
    return {"graphs": {name: f"{GALLERY / name}.py:{_attribute(name)}" for name in files}}


def _attribute(name: str) -> str:
    """Return the graph's name in its file, without importing it."""
    is_factory = name.startswith("factory_")
    return "make_graph" if is_factory else "graph"


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
    shows = _import_file(f"gallery_{name}", folder / "shows.py" if folder.is_dir() else folder.with_suffix(".py"))
    example: Example = shows.SHOWS
    module = _import_from(folder, example.module) if example.module else shows
    return Entry(name, inspect.cleandoc(shows.__doc__ or ""), example, module)


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
async def made(entry: Entry, config: Mapping[str, Any]) -> AsyncIterator[Pregel[Any, Any, Any, Any]]:
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


def write_listing(folder: Path) -> Path:
    """Write the `langgraph.json` of the files into a folder, and return its path."""
    path = folder / "langgraph.json"
    path.write_text(json.dumps(listing(), indent=1))
    return path
