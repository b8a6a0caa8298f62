"""Run a team of agents, or any LangGraph graph, and follow it from a log that never forgets.

    async with open_engine() as engine:
        run = await engine.start("What is the engine power?")
        async for event in run:
            ...
        print(await run.text())

This file is the package `antiphon`: in a wheel as its `__init__.py`, in a checkout beside the
folders that it consists of. Names are loaded at their first use, so that importing the package
imports neither LangGraph nor SQLAlchemy.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from antiphon.orchestrator import events
    from antiphon.orchestrator.engine.engine import Engine
    from antiphon.orchestrator.engine.run import Run, RunFailed
    from antiphon.orchestrator.environment import Environment
    from antiphon.orchestrator.opening import open_engine
    from antiphon.orchestrator.request import Request, User
    from antiphon.orchestrator.team.team import Agent, Team

__all__ = [
    "Agent",
    "Engine",
    "Environment",
    "Request",
    "Run",
    "RunFailed",
    "Team",
    "User",
    "events",
    "open_engine",
]

__path__ = [str(Path(__file__).parent)]

_HOME = {
    "Agent": "antiphon.orchestrator.team.team",
    "Engine": "antiphon.orchestrator.engine.engine",
    "Environment": "antiphon.orchestrator.environment",
    "Request": "antiphon.orchestrator.request",
    "Run": "antiphon.orchestrator.engine.run",
    "RunFailed": "antiphon.orchestrator.engine.run",
    "Team": "antiphon.orchestrator.team.team",
    "User": "antiphon.orchestrator.request",
    "open_engine": "antiphon.orchestrator.opening",
}


def __getattr__(name: str) -> Any:
    if name == "events":
        return importlib.import_module("antiphon.orchestrator.events")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
