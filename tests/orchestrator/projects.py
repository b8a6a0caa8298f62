"""Projects as users write them, in a folder of the test's own, and Python's memory of them."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from antiphon.orchestrator.graphs import imports

SAYING = """
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

def saying(text):
    def node(state: MessagesState):
        return {"messages": [AIMessage(text() if callable(text) else text)]}
    return StateGraph(MessagesState).add_node("node", node).add_edge(START, "node")
"""
"""The beginning of a module that makes graphs by `saying`: what a text, or a function, says."""


def write(folder: Path, files: Mapping[str, str]) -> Path:
    """Write files by their paths. Returns the folder."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return folder


@contextmanager
def forgetting() -> Iterator[None]:
    """Begin as a new process does, and forget in the end what was imported, and how, and the environment."""
    known = (imports._roots, imports._names, imports._places, imports._appended)
    path, finders, environment = list(sys.path), list(sys.meta_path), dict(os.environ)
    before = [one.copy() for one in known]
    for one in known:
        one.clear()
    try:
        yield
    finally:
        folders = tuple(f"{folder}{os.sep}" for folder in imports._roots)
        for name, module in list(sys.modules.items()):
            ours = name.partition(".")[0] in imports._places
            if ours or str(vars(module).get("__file__")).startswith(folders):
                del sys.modules[name]
        for one, earlier in zip(known, before, strict=True):
            one.clear()
            one.update(earlier)
        sys.path[:], sys.meta_path[:] = path, finders
        os.environ.clear()
        os.environ.update(environment)
