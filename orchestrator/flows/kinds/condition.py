"""`condition`: a place for conditions, which stand on its edges. It can bound a cycle."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.flows.definition import Config, Kind
from antiphon.orchestrator.flows.nodes import Visit


class ConditionConfig(Config, frozen=True):
    """`max_rounds` bounds a cycle through the node's conditions."""

    max_rounds: int | None = None


async def run(visit: Visit) -> dict[str, Any]:
    """Count how often the node was passed."""
    passes = visit.state.get("passes", {}).get(visit.node.id, 0)
    return {"passes": {visit.node.id: passes + 1}}


KIND = Kind(config=ConditionConfig, run=run)
