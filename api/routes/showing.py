"""Sends the frames of runs and threads to one WebSocket, as their events are committed.

It follows the log, and keeps no queue of frames: the log is the queue.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import msgspec
from litestar.exceptions import WebSocketDisconnect

from antiphon.api.dialects.base import Dialect, Frame, number
from antiphon.api.services import Services
from antiphon.api.streams import Cursor, cursor_at, run_frames, thread_frames
from antiphon.api.turns import Turns
from antiphon.orchestrator.engine.run import Run

log = logging.getLogger("antiphon.socket")

Send = Callable[[msgspec.Struct | str], Awaitable[None]]


class Delivery:
    """Keeps how far a run was sent on a connection, for a later one with the same id."""

    def __init__(self, services: Services, dialect: Dialect, connection_id: str) -> None:
        self._services = services
        self._names = (dialect.name, connection_id)
        self.user: str | None = None
        """The id of the user; None before the login."""

    @property
    def key(self) -> tuple[str, str, str] | None:
        """Return `(user, dialect, connection)`; None before the login or without an id."""
        return (self.user, *self._names) if self.user is not None and self._names[1] else None

    async def known(self) -> tuple[str, float] | None:
        """Return the id of the run that was sent last and its last number, or None."""
        return await self._services.position(self.key) if self.key else None

    def note(self, run: Run, seq: float) -> None:
        """Note that a run was sent up to this number."""
        if self.key:
            self._services.remember(self.key, run.id, seq)

    async def store(self) -> None:
        """Store what was noted, for a client that reconnects to another process."""
        if self.key:
            await self._services.store_position(self.key)


class Shows:
    """The runs and threads that one connection follows.

    Frames go to `send`, failures to `fail`. `leave` is called after a stream that the server has
    ended because it stops.
    """

    def __init__(
        self,
        services: Services,
        dialect: Dialect,
        place: Delivery,
        send: Send,
        fail: Callable[[Exception], Awaitable[None]],
        leave: Callable[[], Awaitable[None]],
    ) -> None:
        self.turns: Turns[Run] = Turns()
        self.send = send
        self._services = services
        self._dialect = dialect
        self._place = place
        self._fail = fail
        self._leave = leave
        self._more = asyncio.Event()
        self._shown: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        if dialect.serial:
            self.spawn(self._take_turns)

    async def end(self) -> None:
        """Stop following; the runs go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._place.store()

    def spawn(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run `work` as a task of its own, which ends with the connection."""
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def follow(self, run: Run, after: float) -> None:
        """Show a run after a number of its frames; with a serial dialect when its turn comes."""
        if not self._dialect.serial:
            self.spawn(partial(self._show, run, cursor_at(after)))
            return
        if self.turns.add(run, after) and self._shown is not None:
            self._shown.cancel()
        self._more.set()

    def follow_thread(self, thread_id: str, cursor: Cursor) -> None:
        """Show all that happens in a thread."""
        self.spawn(partial(self._show_thread, thread_id, cursor))

    async def _guarded(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except (WebSocketDisconnect, OSError):
            return
        except Exception as error:
            log.exception("a stream broke")
            await self._fail(error)

    async def _take_turns(self) -> None:
        while True:
            await self._more.wait()
            while showing := self.turns.begin():
                gave_way = not await self._show_alone(showing.run, cursor_at(showing.after))
                self.turns.end(gave_way=gave_way)
            self._more.clear()

    async def _show_alone(self, run: Run, cursor: Cursor) -> bool:
        """Show a run to its end; return False if it gave way to another one."""
        self._shown = asyncio.create_task(self._show(run, cursor))
        try:
            await asyncio.wait([self._shown])
        finally:
            self._shown.cancel()
        if self._shown.cancelled():
            return False
        self._shown.result()
        return True

    async def _show(self, run: Run, cursor: Cursor) -> None:
        self._place.note(run, number(cursor.seq, cursor.frame))
        await self._place.store()
        held: list[Frame] = []
        tick = self._services.settings.heartbeat_seconds
        async for batch in run_frames(run, self._dialect, cursor, tick):
            frames = [*held, *(frame for _, frame in batch or ())]
            held = frames if self.turns.must_wait(frame.seq for frame in frames) else []
            if not held:
                await self._send_all(run, frames)
        await self._place.store()
        await self._leave_if_draining()

    async def _send_all(self, run: Run, frames: list[Frame]) -> None:
        for frame in frames:
            self.turns.begun = True
            await self.send(frame.data)
            self.turns.sent(frame.seq)
            self._place.note(run, frame.seq)

    async def _show_thread(self, thread_id: str, cursor: Cursor) -> None:
        tick = self._services.settings.heartbeat_seconds
        engine = self._services.engine
        async for batch in thread_frames(engine, thread_id, self._dialect, cursor, tick):
            for _, frame in batch or ():
                await self.send(frame.data)
        await self._leave_if_draining()

    async def _leave_if_draining(self) -> None:
        if self._services.engine.draining:
            await self._leave()
