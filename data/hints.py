"""Hints: "this thread may have changed, look again". They carry nothing, so losing or repeating one is harmless."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class _Watch:
    """One subscription; `wait` returns after any hint since `clear`."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.clear = self._event.clear
        self.hint = self._event.set

    async def wait(self) -> None:
        """Sleep until the next hint."""
        await self._event.wait()


class Hints:
    """All subscriptions of this process, by thread."""

    def __init__(self) -> None:
        self._watches: dict[str, set[_Watch]] = {}

    @contextmanager
    def watch(self, thread_id: str) -> Iterator[_Watch]:
        """Subscribe to one thread."""
        watch = _Watch()
        watches = self._watches.setdefault(thread_id, set())
        watches.add(watch)
        try:
            yield watch
        finally:
            watches.discard(watch)
            if not watches:
                self._watches.pop(thread_id, None)

    def notify(self, thread_ids: Iterable[str]) -> None:
        """Hint at some threads."""
        for thread_id in thread_ids:
            for watch in self._watches.get(thread_id, ()):
                watch.hint()

    def notify_all(self) -> None:
        """Hint at every watched thread: something changed, and nobody knows what."""
        self.notify(tuple(self._watches))
