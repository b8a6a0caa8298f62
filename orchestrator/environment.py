"""What an engine and all its runs are given from outside, as one value."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from langgraph.store.base import BaseStore

from antiphon.orchestrator.budget import UNLIMITED, Limits
from antiphon.orchestrator.clock import Clock, now_ms
from antiphon.orchestrator.models import READ_SECONDS
from antiphon.orchestrator.recording.tracing import Export
from antiphon.rag.types import ScoredChunk

Observe = Callable[[str, float], None]
"""Called with what happens, by name and amount, for metrics."""


def unobserved(name: str, value: float) -> None:
    """Ignore what happens."""


class Search(Protocol):
    """Finds passages: `antiphon.rag.retriever.Retriever`, or anything with the same method."""

    async def search(self, question: str, access: Collection[str]) -> list[ScoredChunk]:
        """Return the best passages that a reader with these access labels may see."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Clock, limits, services and listeners of one engine. Every part has a default."""

    clock: Clock = now_ms
    """Returns the time, in ms since the epoch."""
    limits: Limits = UNLIMITED
    """What each run may spend."""
    max_attempts: int = 3
    """How often a run may be lost with its process before it is given up."""
    lease_seconds: float = 10.0
    """How long a worker may be silent before its runs are taken over."""
    executor: str = "local"
    """What executes runs: a row of `antiphon.orchestrator.engine.executors.EXECUTORS`."""
    api_key: str | None = field(default=None, repr=False)
    """The key for the endpoint of models and embeddings."""
    base_url: str | None = None
    """The URL of that endpoint; None for OpenAI's."""
    model_seconds: float = READ_SECONDS
    """How long a model may be silent before its answer counts as lost."""
    model_trims: bool = True
    """Whether a conversation that is too long for its model loses its older half, or fails."""
    retriever: Search | None = None
    """What the team searches; None for the knowledge beside the database."""
    observe: Observe = unobserved
    """Called with what happens, for metrics."""
    export: Export | None = None
    """Called with the runs' spans, for traces."""
    store: BaseStore | None = None
    """What graphs keep across threads, if they have no store of their own. Set by `open_engine`."""


DEFAULT_ENVIRONMENT = Environment()
