"""The context of the team's nodes in one run; never stored."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol

from langchain_core.language_models import BaseChatModel

from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.models import StructuredOutput
from antiphon.orchestrator.profiles import Profile
from antiphon.orchestrator.team.team import Team
from antiphon.rag.types import ScoredChunk


class Search(Protocol):
    """Finds passages: `antiphon.rag.retriever.Retriever`, or an object with the same method."""

    async def search(self, question: str, access: Collection[str]) -> list[ScoredChunk]:
        """Return the best passages that a reader with these access labels may see."""


@dataclass(frozen=True)
class TeamContext:
    """What the nodes of one run use.

    `access` are the labels that the user may see; `profile` is what they said about themselves.
    """

    team: Team
    model: BaseChatModel
    router: StructuredOutput
    retriever: Search
    access: Collection[str]
    emit: Callable[[AnyEvent], None]
    profile: Profile | None = None
