"""A team and its agents, as data: the graph, the router and the prompts are made of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from antiphon.orchestrator.budget import Limits
from antiphon.orchestrator.errors import UnknownAgent

CLASSIFIER = "classifier"
RETRIEVER = "retriever"
SYNTHESIS = "synthesis"
RESERVED = frozenset({CLASSIFIER, RETRIEVER, SYNTHESIS, "coordinator"})
"""Names of the team's own nodes; a specialist cannot have them."""


class Agent(msgspec.Struct, frozen=True, kw_only=True):
    """A specialist: its subject, its instructions, and questions for it.

    `examples` are short questions: fifteen of them help the router more than any description.
    `max_tokens` limits one answer at the provider; `limits` bounds what is accepted from it.
    """

    name: str
    description: str
    prompt: str
    examples: tuple[str, ...] = ()
    max_tokens: int = 1024
    limits: Limits = Limits(seconds=120)


class Team(msgspec.Struct, frozen=True, kw_only=True):
    """Specialists that answer together. The first one answers questions that fit no specialist.

    Raises `ValueError` if names are missing, repeated or reserved.
    """

    agents: tuple[Agent, ...]

    def __post_init__(self) -> None:
        names = [agent.name for agent in self.agents]
        if not names or len(set(names)) != len(names) or RESERVED & set(names):
            rule = f"a team needs agents with names of their own, other than {sorted(RESERVED)}"
            raise ValueError(f"{rule}: {names}")

    def __iter__(self) -> Iterator[Agent]:
        return iter(self.agents)

    def __getitem__(self, name: str) -> Agent:
        for agent in self.agents:
            if agent.name == name:
                return agent
        raise UnknownAgent(f"There is no agent {name!r}; this team has {', '.join(self.names)}.")

    @property
    def names(self) -> tuple[str, ...]:
        """The agents' names, in order."""
        return tuple(agent.name for agent in self.agents)
