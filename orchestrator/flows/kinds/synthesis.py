"""`synthesis`: makes one answer of what all earlier agents wrote."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.orchestrator.flows.definition import Config, Kind
from antiphon.orchestrator.flows.nodes import FlowState, Visit
from antiphon.orchestrator.team.prompts import SYNTHESIS, Draft


class SynthesisConfig(Config, frozen=True):
    """Instructions, question and limits. Without a prompt, it has the team's own one."""

    prompt: str = ""
    question: str = "{{ message }}"
    tokens: int | None = None
    sentences: int | None = None
    seconds: float = 120


async def run(visit: Visit) -> dict[str, Any]:
    """Ask the model, with the drafts."""
    instructions = visit.text("prompt") if visit.node.config.prompt else SYNTHESIS
    text = await visit.ask(instructions, visit.text("question"), _drafts(visit.state))
    return visit.reply(text)


def _drafts(state: FlowState) -> list[Draft]:
    """Return the last draft of each agent, in order."""
    latest = {draft["agent"]: draft for draft in state.get("drafts", [])}
    return [msgspec.convert(draft, Draft) for draft in latest.values()]


KIND = Kind(
    config=SynthesisConfig,
    run=run,
    templates=("prompt", "question"),
    role="synthesis",
    speaks=True,
)
