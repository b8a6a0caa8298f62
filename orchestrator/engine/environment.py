"""What an engine and all its runs are given from outside, as one value."""

from __future__ import annotations

from dataclasses import dataclass

from langgraph.store.base import BaseStore

from antiphon.orchestrator.budget import UNLIMITED, Limits
from antiphon.orchestrator.clock import Clock, Observe, now_ms, unobserved
from antiphon.orchestrator.recording.tracing import Export


@dataclass(frozen=True, kw_only=True)
class Environment:
    """Clock, limits and listeners of one engine. Every part has a default."""

    clock: Clock = now_ms
    """Returns the time, in ms since the epoch."""
    limits: Limits = UNLIMITED
    """What each run may spend."""
    max_attempts: int = 3
    """How often a run may be lost with its process before it is given up."""
    lease_seconds: float = 10.0
    """How long a worker may be silent before its runs are taken over."""
    observe: Observe = unobserved
    """Called with what happens, for metrics."""
    export: Export | None = None
    """Called with the runs' spans, for traces."""
    store: BaseStore | None = None
    """What graphs keep across threads, if they have no store of their own. `open_engine` opens it."""


DEFAULT_ENVIRONMENT = Environment()
