"""`input`: receives the message. Its output is the message."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.flows.definition import Config, Kind
from antiphon.orchestrator.flows.nodes import Visit


class InputConfig(Config, frozen=True):
    """An input has no settings."""


async def run(visit: Visit) -> dict[str, Any]:
    """Give the message as the node's output."""
    return {"outputs": {visit.node.id: visit.state["message"]}}


KIND = Kind(config=InputConfig, run=run, entry=True)
