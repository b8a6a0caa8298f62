"""Hints: "this thread may have changed, look again".

They carry nothing, so losing or repeating one is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class Watch:
    """A subscription to hints about one thread.

    Subscribe first, then read, so that nothing falls in between. Before each reading call `clear`,
    which forgets the hints so far.
    """

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self.clear = self._event.clear
        self.hint = self._event.set

    async def wait(self) -> None:
        """Return when the thread may have changed since `clear`."""
        await self._event.wait()


class Hints:
    """All subscriptions of this process, by thread."""

    def __init__(self) -> None:
        self._watches: dict[str, set[Watch]] = {}

    @contextmanager
    def watch(self, thread_id: str) -> Iterator[Watch]:
        """Subscribe to one thread."""
        watch = Watch()
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
        """Hint at every watched thread, when it is unknown which have changed."""
        self.notify(tuple(self._watches))
