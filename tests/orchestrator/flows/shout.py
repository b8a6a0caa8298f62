"""`shout`: writes a text in capitals."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from antiphon.orchestrator.flows.definition import Config, FlowProblem, Kind, Node
from antiphon.orchestrator.flows.nodes import Visit


class ShoutConfig(Config, frozen=True):
    """The text, and how many exclamation marks follow it."""

    text: str = "{{ message }}"
    marks: int = 1


def check(node: Node, specialists: Collection[str]) -> Iterator[FlowProblem]:
    """Report a number of marks that is too small or too large."""
    if not 0 <= node.config.marks <= 3:
        yield node.problem("BAD_CONFIG", "A shout has 0 to 3 marks.", "marks")


async def run(visit: Visit) -> dict[str, Any]:
    """Stream the text."""
    text = visit.text("text").upper() + "!" * visit.node.config.marks
    return visit.reply(await visit.speak(text))


KIND = Kind(config=ShoutConfig, run=run, check=check, templates=("text",), speaks=True)
