"""The only clock: milliseconds since the epoch."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]


def now_ms() -> int:
    """Wall-clock time in milliseconds."""
    return time.time_ns() // 1_000_000


Observe = Callable[[str, float], None]
"""Is told what happens, by name and amount, for metrics."""


def unobserved(name: str, value: float) -> None:
    """Nobody is watching."""
