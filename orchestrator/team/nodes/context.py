"""The context of the team's nodes in one run; never stored."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from langchain_core.language_models import BaseChatModel

from antiphon.orchestrator.environment import Search
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.models import StructuredOutput
from antiphon.orchestrator.profiles import Profile
from antiphon.orchestrator.team.team import Team


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
