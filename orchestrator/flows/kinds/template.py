"""`template`: makes a text."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.flows.definition import Config, Kind
from antiphon.orchestrator.flows.nodes import Visit


class TemplateConfig(Config, frozen=True):
    """The text."""

    template: str


async def run(visit: Visit) -> dict[str, Any]:
    """Render the template."""
    return visit.reply(await visit.speak(visit.text("template")))


KIND = Kind(config=TemplateConfig, run=run, templates=("template",), speaks=True)
