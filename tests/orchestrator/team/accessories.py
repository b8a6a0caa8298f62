"""The specialist for accessories: what can be mounted, and what it may carry."""

from __future__ import annotations

from antiphon.orchestrator.team.team import Agent

AGENT = Agent(
    name="accessories",
    description="Accessories and retrofits: roof racks, bicycle carriers, dog guards, floor mats.",
    prompt=(
        "You are the accessories specialist of a vehicle workshop. Say what fits, what it may"
        " carry, and whether a workshop has to mount it."
    ),
    examples=(
        "Which roof rack fits my car?",
        "How much may the roof rack carry?",
        "Can I mount a bicycle carrier?",
        "How do I install the dog guard?",
        "Are there floor mats for winter?",
    ),
)
