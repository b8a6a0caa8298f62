"""`approval`: asks a human and waits. Its output is the answer."""

from __future__ import annotations

from typing import Any

import msgspec
from langgraph.types import interrupt

from antiphon.orchestrator.flows.definition import Config, Kind
from antiphon.orchestrator.flows.nodes import Visit
from antiphon.orchestrator.values import plain


class ApprovalConfig(Config, frozen=True):
    """The question, and the options to choose from."""

    question: str
    options: list[str] = msgspec.field(default_factory=list)


async def run(visit: Visit) -> dict[str, Any]:
    """Interrupt the run with the question. An answer that is no text becomes JSON."""
    options = visit.node.config.options or None
    answer = plain(interrupt({"question": visit.text("question"), "options": options}))
    text = answer if isinstance(answer, str) else msgspec.json.encode(answer).decode()
    return visit.reply(text)


KIND = Kind(
    config=ApprovalConfig,
    run=run,
    templates=("question",),
    speaks=True,
    pauses=True,
    aliases=("human_approval", "human"),
)
