"""`parallel`: follows all its edges at once. Compiling joins the branches in a later node."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.flows.definition import Config, Exits, Kind
from antiphon.orchestrator.flows.nodes import Visit


class ParallelConfig(Config, frozen=True):
    """A parallel node has no settings."""


async def run(visit: Visit) -> dict[str, Any]:
    """Change nothing."""
    return {}


KIND = Kind(config=ParallelConfig, run=run, exits=Exits.ALL)
