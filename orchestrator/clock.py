"""The only clock: milliseconds since the epoch."""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Returns the time, in ms since the epoch."""


def now_ms() -> int:
    """Return the wall-clock time, in ms since the epoch."""
    return time.time_ns() // 1_000_000
