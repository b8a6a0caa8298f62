"""Antiphon's engine: run a team of agents, or any LangGraph graph, and follow it from a log that never forgets.

    async with open_engine() as engine:
        run = await engine.start("What is the engine power?")
        async for event in run:
            ...
        print(await run.text())

Names are loaded on first use, so that importing this package does not import LangGraph.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator import events
    from orchestrator.engine import Engine
    from orchestrator.opening import open_engine
    from orchestrator.run import Run, RunFailed
    from orchestrator.team import Agent, Team

_HOME = {
    "Agent": "orchestrator.team",
    "Engine": "orchestrator.engine",
    "Run": "orchestrator.run",
    "RunFailed": "orchestrator.run",
    "Team": "orchestrator.team",
    "open_engine": "orchestrator.opening",
}

__all__ = ["Agent", "Engine", "Run", "RunFailed", "Team", "events", "open_engine"]


def __getattr__(name: str) -> Any:
    if name == "events":
        return importlib.import_module("orchestrator.events")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
