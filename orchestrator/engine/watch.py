"""Notices when something blocks the event loop, and reports the node of the graph that did."""

from __future__ import annotations

import asyncio
import logging
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from antiphon.orchestrator.engine.exits import node_of
from antiphon.orchestrator.environment import Observe

log = logging.getLogger("antiphon.graph")

PAUSE_SECONDS = 0.1
"""The time between two checks."""
BLOCKED_SECONDS = 0.25
"""How long the loop may not answer before it counts as blocked."""
LONG_SECONDS = 5.0
"""After this time a block is reported although it has not ended, as it may never end."""
QUIET_SECONDS = 10.0
"""How long a node that was reported is not reported again."""
PLACES = 1000
"""How many reports are remembered."""


@contextmanager
def watched_loop(observe: Observe) -> Iterator[None]:
    """Watch the running loop. `observe` gets `loop_blocked` with the seconds of each block."""
    watch = _LoopWatch(asyncio.get_running_loop(), observe)
    threading.Thread(target=watch.run, name="antiphon-watch", daemon=True).start()
    try:
        yield
    finally:
        watch.closing.set()


class _Blocker(NamedTuple):
    """A node that blocks the loop, empty for other code of a run, and a line of a file."""

    node: str
    place: str


class _LoopWatch:
    """A thread that checks again and again whether the loop answers."""

    def __init__(self, loop: asyncio.AbstractEventLoop, observe: Observe) -> None:
        self.closing = threading.Event()
        self._loop = loop
        self._loop_thread = threading.get_ident()
        self._observe = observe
        self._reported: dict[_Blocker, float] = {}

    def run(self) -> None:
        """Check until `closing` is set, or the loop is closed."""
        while not self.closing.wait(PAUSE_SECONDS):
            answered, asked_at = threading.Event(), time.monotonic()
            try:
                self._loop.call_soon_threadsafe(answered.set)
                if not answered.wait(BLOCKED_SECONDS):
                    self._wait_blocked(answered, asked_at)
            except RuntimeError:  # the loop is closed
                return

    def _wait_blocked(self, answered: threading.Event, asked_at: float) -> None:
        blocker = _blocker(sys._current_frames().get(self._loop_thread))
        if not answered.wait(LONG_SECONDS):
            self._report(blocker, "has blocked the event loop for %.1f s and still does", asked_at)
            while not answered.wait(LONG_SECONDS):
                if self.closing.is_set():
                    return
        if not self.closing.is_set():
            self._report(blocker, "blocked the event loop for %.1f s", asked_at)
            self._loop.call_soon_threadsafe(
                self._observe, "loop_blocked", time.monotonic() - asked_at
            )

    def _report(self, blocker: _Blocker | None, words: str, since: float) -> None:
        now = time.monotonic()
        if blocker is None or now < self._reported.get(blocker, 0.0):
            return
        if len(self._reported) == PLACES:
            self._reported.clear()
        self._reported[blocker] = now + QUIET_SECONDS
        who = f"node `{blocker.node}` ({blocker.place})" if blocker.node else blocker.place
        log.warning(
            f"%s {words}; make it a plain function, or use asyncio.to_thread", who, now - since
        )


def _blocker(stack: FrameType | None) -> _Blocker | None:
    """Return what a stack executes for a run; None if it is the loop's or a notebook cell's."""
    node = node_of(stack)
    if node is None or stack is None:
        return None
    frame: FrameType | None = stack
    while frame is not None and not _is_users(frame.f_code.co_filename):
        frame = frame.f_back
    blocking = frame or stack
    return _Blocker(node, f"{Path(blocking.f_code.co_filename).name}:{blocking.f_lineno}")


_LIBRARIES = [sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")]
_OURS = [str(Path(__file__).parents[2] / name) for name in ("api", "data", "orchestrator", "rag")]


def _is_users(filename: str) -> bool:
    """Return whether a file is neither Python's, nor an installed library's, nor ours."""
    return not filename.startswith(("<frozen", *_LIBRARIES, *_OURS))
