"""The newest rows of threads in use, kept in memory so that live readers need no query.

It is a cache: it has only rows that this process committed, without gaps, and is cleared after
another process has committed. What it does not have is read from the database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from antiphon.data.records import Row

ROWS = 1024
"""Rows kept per thread."""
THREADS = 512
"""Threads kept; the least recently written go first."""


class Tail:
    """Recent rows by thread, contiguous in `seq`."""

    def __init__(self) -> None:
        self._threads: OrderedDict[str, list[Row]] = OrderedDict()

    def extend(self, rows: Sequence[Row]) -> None:
        """Add rows that were just committed, in order."""
        for row in rows:
            kept = self._threads.get(row.thread_id)
            if kept is None or kept[-1].seq + 1 != row.seq:
                kept = self._threads[row.thread_id] = []
            kept.append(row)
            if len(kept) >= 2 * ROWS:
                del kept[:ROWS]
        for thread_id in {row.thread_id for row in rows}:
            self._threads.move_to_end(thread_id)
        while len(self._threads) > THREADS:
            self._threads.popitem(last=False)

    def read(self, thread_id: str, after: int, limit: int) -> list[Row] | None:
        """Return rows with `seq > after`, at most `limit`; None if they may not be complete here.

        An empty list means that there is nothing newer.
        """
        kept = self._threads.get(thread_id)
        if kept is None or after + 1 < kept[0].seq or after > kept[-1].seq:
            return None
        start = after + 1 - kept[0].seq
        return kept[start : start + limit]

    def clear(self) -> None:
        """Forget everything."""
        self._threads.clear()
