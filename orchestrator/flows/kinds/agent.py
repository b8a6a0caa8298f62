"""`agent`: asks the model, with a prompt of its own, as a specialist of the team, or both."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import msgspec

from antiphon.orchestrator.flows.definition import Config, FlowProblem, Kind, Node
from antiphon.orchestrator.flows.nodes import Visit
from antiphon.orchestrator.team.prompts import Draft, specialist_prompt


class AgentConfig(Config, frozen=True):
    """Instructions, question and limits. `agent` names a specialist of the team."""

    agent: str | None = None
    prompt: str = ""
    question: str = "{{ message }}"
    tokens: int | None = None
    sentences: int | None = None
    seconds: float = 120


def check(node: Node, specialists: Collection[str]) -> Iterator[FlowProblem]:
    """Report missing instructions, and a specialist that does not exist."""
    config: AgentConfig = node.config
    if config.agent is None and not config.prompt.strip():
        message = "An agent needs a prompt, or the name of a specialist."
        yield node.problem("MISSING_INPUT", message, "prompt")
    elif config.agent is not None and config.agent not in specialists:
        message = f"There is no such specialist; there are {', '.join(specialists)}."
        yield node.problem("UNKNOWN_AGENT", message, "agent")


async def run(visit: Visit) -> dict[str, Any]:
    """Ask the model. The text is a draft for a later synthesis, too."""
    node, prompt = visit.node, visit.text("prompt")
    specialist = node.config.agent
    instructions = specialist_prompt(visit.context.team[specialist]) if specialist else ""
    instructions = "\n".join(filter(None, (instructions, prompt)))
    text = await visit.ask(instructions, visit.text("question"))
    draft = Draft(agent=node.id, question=visit.state["message"], text=text)
    return {**visit.reply(text), "drafts": [msgspec.to_builtins(draft)]}


KIND = Kind(
    config=AgentConfig,
    run=run,
    check=check,
    templates=("prompt", "question"),
    role="supporting",
    speaks=True,
    aliases=("llm",),
)
