"""Runs as streams of frames: the cursor on the wire, the fold, the SSE body."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from antiphon.api import sse
from antiphon.api.dialects.base import ALL_FRAMES, Dialect, Fold, Frame, encoded, place
from antiphon.api.problems import Problem
from antiphon.orchestrator.engine.engine import Engine
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.events import Recorded

Frames = list[tuple[str, Frame]]
"""Frames with their cursors."""


class Cursor(NamedTuple):
    """A place in a stream: the last frame that the client has. On the wire `<run_id>:<seq>.<k>`."""

    run_id: str
    seq: int
    frame: int


START = Cursor("", 0, ALL_FRAMES)


def cursor_at(seq: float) -> Cursor:
    """Return the cursor of a frame's `seq`, as WebSocket clients give it."""
    return Cursor("", *place(seq))


_CURSOR = re.compile(r"([0-9a-f-]{36}|-):(\d{1,15})\.(\d{1,6})")


def read_cursor(text: str) -> Cursor:
    """Return a cursor from the wire.

    Raises `Problem` CURSOR_GONE: a client cannot repair one, only begin anew.
    """
    match = _CURSOR.fullmatch(text.strip())
    if match is None:
        raise Problem("CURSOR_GONE", "This is no event that the stream can be resumed from.")
    return Cursor(match[1], int(match[2]), int(match[3]))


async def check_cursor(engine: Engine, thread_id: str, cursor: Cursor, user: str) -> None:
    """Raise `Problem` CURSOR_GONE for a place that the log has not reached: it is another log's."""
    thread = await engine.thread(thread_id, user)
    if cursor.seq > thread.last_seq:
        raise Problem("CURSOR_GONE", f"Events 1 to {thread.last_seq} can be resumed.")


class Framer:
    """Turns recorded events into the frames after a cursor, with a fold for each run."""

    def __init__(self, dialect: Dialect, after: Cursor) -> None:
        self._dialect = dialect
        self._after = (after.seq, after.frame)
        self._folds: dict[str | None, Fold] = {}

    def frames(self, batch: list[Recorded]) -> Frames:
        """Return everything in a batch that the client does not have."""
        missing: Frames = []
        for recorded in batch:
            fold = self._folds.get(recorded.run_id)
            if fold is None:
                fold = self._folds[recorded.run_id] = self._dialect.fold()
            for k, frame in enumerate(fold.feed(recorded)):
                if (recorded.seq, k) > self._after:
                    missing.append((f"{recorded.run_id or '-'}:{recorded.seq}.{k}", frame))
            if recorded.ends_run:
                del self._folds[recorded.run_id]
        return missing


def run_frames(
    run: Run, dialect: Dialect, after: Cursor, tick: float
) -> AsyncGenerator[Frames | None]:
    """Return a run's frames after a cursor, in lists; None every `tick` seconds."""
    frames = _run_frames(run, Framer(dialect, after), tick)
    return _first_turn(frames, dialect) if dialect.one_turn else frames


async def _run_frames(run: Run, framer: Framer, tick: float) -> AsyncGenerator[Frames | None]:
    """Yield frames from the run's start on: the fold needs what came before the cursor."""
    async for batch in run.batches(tick=tick):
        yield framer.frames(batch) if batch else None


async def _first_turn(
    frames: AsyncGenerator[Frames | None], dialect: Dialect
) -> AsyncGenerator[Frames | None]:
    """Yield frames up to the end of a turn: what follows a question is the next message's."""
    async with aclosing(frames):
        async for batch in frames:
            ends = [k for k, (_, frame) in enumerate(batch or ()) if dialect.ends_turn(frame.data)]
            if batch and ends:
                yield batch[: ends[0] + 1]
                return
            yield batch


async def thread_frames(
    engine: Engine, thread_id: str, dialect: Dialect, after: Cursor, tick: float
) -> AsyncIterator[Frames | None]:
    """Yield a thread's frames after a cursor, for ever. For dialects whose fold needs no past."""
    framer = Framer(dialect, after)
    async for batch in engine.follow(thread_id, after.seq - 1 if after.seq else 0, tick=tick):
        yield framer.frames(batch) if batch else None


async def sse_body(
    frames: AsyncIterator[Frames | None],
    ticks: int = 1,
    may_read: Callable[[], bool] = lambda: True,
    in_a_hurry: Callable[[], bool] = lambda: False,
) -> AsyncIterator[bytes]:
    """Yield the bytes of an SSE response.

    Several events that are there at once go out together, but for those with a pause. Every
    `ticks`-th tick is a heartbeat; at each tick, and before each piece, the reader must still be
    allowed to read. While the server is `in_a_hurry`, there are no pauses.
    """
    yield sse.OPEN
    first = True
    ticked = 0
    clock, due = asyncio.get_running_loop().time, 0.0
    async for batch in frames:
        if not may_read():
            return
        if batch is None:
            ticked += 1
            if ticked % ticks == 0:
                yield sse.HEARTBEAT
        for group in _groups(batch or []):
            if (pause := group[0][1].pause) and not in_a_hurry():
                await asyncio.sleep(due - clock())
                if not may_read():
                    return
                due = clock() + pause / 1000
            body = b"".join(
                sse.encode(encoded(frame.data), cursor, frame.event) for cursor, frame in group
            )
            yield sse.RETRY + body if first else body
            first = False


def _groups(frames: Sequence[tuple[str, Frame]]) -> Iterator[Sequence[tuple[str, Frame]]]:
    """Yield frames that may go out together: one with a pause begins a group."""
    begin = 0
    for at in range(1, len(frames) + 1):
        if at == len(frames) or frames[at][1].pause:
            yield frames[begin:at]
            begin = at
