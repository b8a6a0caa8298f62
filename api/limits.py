"""Limits of a client: token buckets per address, user and connection; counts of open streams.

A limit of 0 means no limit. With authentication off there is one user on this machine, and no limit
applies. The state belongs to this process and covers the callers seen most recently.
"""

from __future__ import annotations

import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from antiphon.api.problems import Problem
from antiphon.api.settings import Settings

CALLERS = 20_000
"""Number of callers to remember; the least recently seen are dropped first."""

Monotonic = Callable[[], float]


class Bucket:
    """A token bucket: `rate` tokens per second, at most `burst` at once."""

    __slots__ = ("burst", "level", "rate", "seen")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self.level = burst
        self.seen = now

    def take(self, now: float) -> float:
        """Take one token at `now` (s). Return 0, or the seconds to wait if there is none."""
        self.level = min(self.burst, self.level + (now - self.seen) * self.rate)
        self.seen = now
        if self.level < 1:
            return (1 - self.level) / self.rate
        self.level -= 1
        return 0.0


class ClientLimits:
    """All limits and counters of a server."""

    def __init__(self, settings: Settings, monotonic: Monotonic = time.monotonic) -> None:
        self._settings = settings
        self._on = settings.auth_on
        self._monotonic = monotonic
        self._buckets: OrderedDict[tuple[str, str], Bucket] = OrderedDict()
        self._connections: Counter[str] = Counter()
        self.anonymous_sockets = 0

    def request(self, kind: str, caller: str) -> None:
        """Count a request; `kind` is `address` or `user`. Raises `Problem` RATE_LIMITED."""
        name = "requests_per_minute" if kind == "user" else "address_requests_per_minute"
        per_minute = getattr(self._settings, name)
        if not self._on or not per_minute:
            return
        now = self._monotonic()
        bucket = self._buckets.get((kind, caller))
        if bucket is None:
            bucket = Bucket(per_minute / 60, max(per_minute / 6, 1), now)
            self._buckets[kind, caller] = bucket
        self._buckets.move_to_end((kind, caller))
        while len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        _refuse(bucket.take(now), "Too many requests.")

    def frames(self) -> Callable[[], None]:
        """Return a function that counts one connection's frames.

        It raises `Problem` RATE_LIMITED above the rate.
        """
        rate = self._settings.frames_per_second
        if not self._on or not rate:
            return lambda: None
        bucket = Bucket(rate, rate * 2, self._monotonic())
        return lambda: _refuse(bucket.take(self._monotonic()), "Too many frames.")

    def check_connections(self, user: str) -> None:
        """Raise `Problem` RATE_LIMITED if a user has the maximum number of open streams."""
        limit = self._settings.connections_per_user
        if self._on and limit and self._connections[user] >= limit:
            raise Problem("RATE_LIMITED", f"A user may have {limit} streams open.", retry_after=5)

    @contextmanager
    def connection(self, user: str) -> Iterator[None]:
        """Count an open stream of a user for the duration of the block."""
        self._connections[user] += 1
        try:
            yield
        finally:
            self._connections[user] -= 1
            if not self._connections[user]:
                del self._connections[user]

    @contextmanager
    def anonymous(self) -> Iterator[None]:
        """Count a WebSocket without a login for the block. Raises `Problem` RATE_LIMITED."""
        limit = self._settings.anonymous_sockets
        if self._on and limit and self.anonymous_sockets >= limit:
            raise Problem("RATE_LIMITED", "Too many connections wait for a login.", retry_after=5)
        self.anonymous_sockets += 1
        try:
            yield
        finally:
            self.anonymous_sockets -= 1

    def runs(self, active: int) -> None:
        """Raise `Problem` RATE_LIMITED if a user has the maximum number of active runs."""
        limit = self._settings.runs_per_user
        if self._on and limit and active >= limit:
            raise Problem("RATE_LIMITED", f"A user may have {limit} runs under way.", retry_after=2)

    def tokens(self, used: int) -> None:
        """Raise `Problem` BUDGET_EXCEEDED if a user has used all tokens of today."""
        limit = self._settings.user_tokens_per_day
        if limit is not None and used >= limit:
            raise Problem(
                "BUDGET_EXCEEDED", f"A user may use {limit} tokens a day.", retry_after=3600
            )

    @property
    def counts_runs(self) -> bool:
        """Report whether the number of a user's runs is limited."""
        return self._on and self._settings.runs_per_user > 0


def _refuse(wait: float, message: str) -> None:
    if wait > 0:
        raise Problem("RATE_LIMITED", message, retry_after=int(wait) + 1)
