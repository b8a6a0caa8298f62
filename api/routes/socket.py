"""Carries out WebSocket conversations: one reader, and one writer that follows runs by their cursors.

The reader never stops reading, so pings are answered and a client that leaves is noticed; no frame is queued anywhere,
because the log is the queue.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from antiphon.api.connection import Action, Close, Conversation, Perform, Send, Then, Verify
from antiphon.api.dialects.base import AnswerQuestion, Ask, Cancel, Dialect, Frame, Resume, number
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.services import TICK_SECONDS, Services, as_problem, start_of
from antiphon.api.streams import Cursor, check_cursor, cursor_at, run_frames, thread_frames
from antiphon.data.errors import AntiphonError
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.request import Request

log = logging.getLogger("antiphon.socket")
audit = logging.getLogger("antiphon.audit")

WAITING = 8
"""Messages that may wait for their turn on one connection of a serial dialect."""
SUBPROTOCOL = "chat.v1"
BEARER = "bearer."
RESTART = 1012
_SEQ = re.compile(r"\d{1,15}(\.\d{1,2})?", re.ASCII)
Work = Callable[[], Coroutine[Any, Any, None]]
Adapt = Callable[[Request, Principal], Awaitable[Request]]


async def converse(
    socket: WebSocket[Any, Any, Any],
    dialect: Dialect,
    services: Services,
    connection_id: str | None = None,
    adapt: Adapt | None = None,
    idle_seconds: float | None = None,
) -> None:
    """Serve one WebSocket from its acceptance to its end. `adapt` completes messages by what the route knows.

    One on which nothing happens for `idle_seconds` is closed.
    """
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocols=_selected(offered))
    talk = _Talk(socket, dialect, services, connection_id or "", adapt, idle_seconds)
    try:
        with services.metrics.streams.labels("websocket").track_inprogress():
            await talk.serve(offered)
    except AntiphonError as error:
        await talk.fail(as_problem(error))
    except (WebSocketDisconnect, OSError):
        return
    finally:
        await talk.end()


class _Talk:
    """One connection: carries out what the conversation decides."""

    def __init__(
        self,
        socket: WebSocket[Any, Any, Any],
        dialect: Dialect,
        services: Services,
        connection: str,
        adapt: Adapt | None,
        idle_seconds: float | None,
    ) -> None:
        self._idle_seconds = idle_seconds
        self._socket = socket
        self._adapt = adapt
        self._dialect = dialect
        self._services = services
        self._connection = connection
        self._conversation = Conversation(dialect, connection)
        self._turns: deque[tuple[Run, Cursor]] = deque()
        self._more = asyncio.Event()
        self._showing: asyncio.Task[None] | None = None
        self._begun = False
        """Whether something of the run that is shown was sent."""
        self._last: tuple[Run, float] | None = None
        """What was sent last."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._current: Run | None = None
        self._stopped: str | None = None
        """The run that the client stopped while it was shown."""
        self._sending = asyncio.Lock()
        self._closed = False
        self._count_frame = services.limits.frames()
        self._counted = ExitStack()

    async def serve(self, offered: list[str]) -> None:
        """Log in by what the request carries, then obey frames until the client leaves."""
        if self._dialect.serial:
            self._spawn(self._take_turns)
        self._counted.enter_context(self._services.limits.anonymous())
        token = _token(self._socket, offered)
        if ticket := self._socket.query_params.get("ticket"):
            await self._redeem(ticket)
        elif token is not None or not self._services.authenticator.required:
            await self._verify(token, asked=False)
        elif self._socket.query_params.get("token") == "":
            await self._verify("", asked=False)
        until = asyncio.get_running_loop().time() + self._services.settings.auth_seconds
        while not self._closed:
            try:
                async with asyncio.timeout_at(self._patience(until)):
                    text = await self._receive()
            except TimeoutError:
                if self._conversation.principal is None:
                    raise Problem("AUTH_TIMEOUT", "Nobody logged in.") from None
                if self._current is None:
                    await self._close(1000)
                continue
            self._count_frame()
            await self._act(self._conversation.receive(text, self._now()))

    def _patience(self, login: float) -> float | None:
        """Until when the next frame has to come, on the loop's clock: a login soon, anything else not for ever."""
        if self._conversation.principal is None:
            return login
        return asyncio.get_running_loop().time() + self._idle_seconds if self._idle_seconds else None

    async def fail(self, problem: Problem) -> None:
        """Tell the client why it has to go, and close."""
        with suppress(WebSocketDisconnect, OSError):
            await self._act(self._conversation.fatal(problem, self._now()))

    async def end(self) -> None:
        """Stop following; runs go on."""
        self._counted.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._store_place()

    async def _receive(self) -> str | None:
        """The next text; None for a binary frame. Litestar's own reading would turn that into an empty text."""
        event = await self._socket.receive()
        if event["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(detail="gone", code=event.get("code", 1005))
        text: str | None = event.get("text")  # type: ignore[assignment]
        return text

    async def _act(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Send():
                    await self._send(action.frame)
                case Verify():
                    await self._verify(action.token, asked=True)
                case Then():
                    await self._act(self._conversation.then(action.command, self._now()))
                case Close():
                    await self._close(action.code)
                case Perform():
                    await self._perform(action)

    async def _verify(self, token: str | None, *, asked: bool) -> None:
        try:
            principal = await self._services.authenticator.principal(token)
        except Problem as problem:
            await self._refuse(problem)
        else:
            await self._let_in(principal, asked=asked, silently=token is None)

    async def _redeem(self, ticket: str) -> None:
        try:
            principal = await self._services.redeem_ticket(ticket)
        except Problem as problem:
            await self._refuse(problem)
        else:
            await self._let_in(principal, asked=False)

    async def _refuse(self, problem: Problem) -> None:
        client = self._socket.client.host if self._socket.client else None
        audit.warning(
            "refused a login", extra={"code": problem.code, "path": self._socket.scope["path"], "client": client}
        )
        self._services.metrics.refusals.labels(problem.code).inc()
        await self._act(self._conversation.refused(problem, self._now()))

    async def _let_in(self, principal: Principal, *, asked: bool, silently: bool = False) -> None:
        """Welcome a client; `silently` where it neither sent a token nor needed one. A renewal only moves its end."""
        first = self._conversation.principal is None
        if first:
            self._services.limits.check_connections(principal.id)
            self._counted.close()
            self._counted.enter_context(self._services.limits.connection(principal.id))
        actions = self._conversation.authenticated(principal, self._now(), asked=asked)
        if not (silently and self._dialect.name == "chat"):
            await self._act(actions)
        if first:
            if principal.expires_at is not None:
                self._spawn(self._watch_login)
            await self._come_back(principal)

    async def _watch_login(self) -> None:
        """Close the connection when its login is not valid any more; the runs go on."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            principal = self._conversation.principal
            try:
                if principal is not None:
                    self._services.authenticator.check(principal, self._now())
            except Problem as problem:
                await self._act(self._conversation.expired(problem, self._now()))
                return

    async def _perform(self, action: Perform) -> None:
        command, principal = action.command, self._named(action)
        try:
            match command:
                case Ask():
                    await self._ask(command.request, principal)
                case Resume():
                    await self._resume(command, principal)
                case Cancel():
                    await self._cancel(command, principal)
                case AnswerQuestion():
                    run = await self._services.engine.answer(
                        command.run_id, command.answer, principal.id, question=command.id
                    )
                    self._follow(run, start_of(run))
        except AntiphonError as error:
            await self._act(self._conversation.problem(as_problem(error), self._now()))

    def _named(self, action: Perform) -> Principal:
        """Whose command it is: where nobody has to log in, the client says so by a name."""
        name = action.command.user if isinstance(action.command, Ask | Resume) else None
        if name is None or self._services.authenticator.required:
            return action.principal
        self._conversation.principal = principal = msgspec.structs.replace(action.principal, id=name)
        return principal

    async def _ask(self, request: Request, principal: Principal) -> None:
        if self._dialect.serial and len(self._turns) >= WAITING:
            raise Problem("BUSY", f"{WAITING} messages are waiting already.")
        if request.thread_id is None and request.thread_name is None and self._connection:
            request = msgspec.structs.replace(request, thread_name=f"connection:{self._connection}")
        if self._adapt is not None:
            request = await self._adapt(request, principal)
        run = await self._services.start(request, principal)
        self._follow(run, start_of(run))

    async def _resume(self, command: Resume, principal: Principal) -> None:
        engine = self._services.engine
        if command.thread_id is not None:
            thread_id, run = (await engine.thread(command.thread_id, principal.id)).id, None
        elif command.run_id is not None:
            run = await engine.run(command.run_id, principal.id)
            thread_id = run.thread_id
        else:
            raise Problem("BAD_REQUEST", "resume takes run_id.")
        cursor = cursor_at(command.after)
        self._services.metrics.resumes.labels("websocket").inc()
        try:
            await check_cursor(engine, thread_id, cursor, principal.id)
        except Problem:
            last = (await engine.thread(thread_id, principal.id)).last_seq
            await self._send(self._dialect.reset(1, last, self._now()))
            return
        if run is not None:
            self._follow(run, cursor)
        else:
            self._spawn(partial(self._show_thread, thread_id, cursor))

    async def _cancel(self, command: Cancel, principal: Principal) -> None:
        """Stop a run: the one that is named, the one that is shown, or the one that was shown last, which may wait."""
        shown = self._last[0] if self._dialect.serial and self._last is not None else None
        run = self._current or shown
        run_id = command.run_id or (run.id if run is not None else None)
        if run_id is not None:
            await self._services.engine.cancel(run_id, principal.id)
            if self._dialect.serial and run is not None and run.id == run_id:
                self._show_end(run)

    def _show_end(self, run: Run) -> None:
        """Show how a run ended that was stopped, also if all that was shown of it ended with a question."""
        if self._current is not None and self._current.id == run.id:
            self._stopped = run.id
        elif self._last is not None and self._last[0].id == run.id:
            self._follow(run, cursor_at(self._last[1]))

    async def _come_back(self, principal: Principal) -> None:
        """Go on where an earlier connection with the same id broke off: behind `last_seq` where the client says it,
        else behind what was sent to it.

        After a crash that is known of runs that were shown to their end only; any other is shown from its beginning,
        since a client that cannot say what it has is better told twice than left waiting.
        """
        known = await self._services.position(self._key(principal)) if self._connection else None
        if known is not None:
            run_id, sent = known
            last_seq = self._socket.query_params.get("last_seq", "")
            after = float(last_seq) if _SEQ.fullmatch(last_seq) else sent
            await self._perform(Perform(Resume(run_id=run_id, after=after), principal))

    def _key(self, principal: Principal) -> tuple[str, str, str]:
        return principal.id, self._dialect.name, self._connection

    def _follow(self, run: Run, cursor: Cursor) -> None:
        """Show a run. On a serial connection in its turn; what follows an answer comes first, because messages that
        were sent ahead wait for this run's end."""
        if not self._dialect.serial:
            self._spawn(partial(self._show, run, cursor))
            return
        self._current = self._current or run
        if run.answered:
            self._turns.appendleft((run, cursor))
            if self._showing is not None and not self._begun:
                self._showing.cancel()
        else:
            self._turns.append((run, cursor))
        self._more.set()

    async def _take_turns(self) -> None:
        """One run after the other: these clients cannot tell the frames of two runs apart."""
        while True:
            await self._more.wait()
            while self._turns:
                run, cursor = self._turns.popleft()
                if not await self._show_alone(run, cursor):
                    self._turns.insert(1, (run, cursor))
                self._current = None
                if self._stopped == run.id and self._last is not None:  # perhaps after its question was shown
                    self._turns.appendleft((run, cursor_at(self._last[1])))
                self._stopped = None
            self._more.clear()

    async def _show_alone(self, run: Run, cursor: Cursor) -> bool:
        """Show a run to its end; False where another one comes first, of which nothing was shown yet."""
        self._current, self._begun = run, False
        self._showing = asyncio.create_task(self._show(run, cursor))
        try:
            await asyncio.wait([self._showing])
        finally:
            self._showing.cancel()
        if self._showing.cancelled():
            return False
        self._showing.result()
        return True

    async def _show(self, run: Run, cursor: Cursor) -> None:
        self._note(run, number(cursor.seq, cursor.frame))
        await self._store_place()
        held: list[Frame] = []
        async for found in run_frames(run, self._dialect, cursor, self._services.settings.heartbeat_seconds):
            frames = [*held, *(frame for _, frame in found or ())]
            held = frames if self._must_wait(run, frames) else []
            for frame in frames if not held else ():
                self._begun = True
                await self._send(frame.data)
                self._last = (run, frame.data.get("seq", 0))
                self._note(run, frame.data.get("seq", 0))
        await self._store_place()
        await self._leave_if_draining()

    def _must_wait(self, run: Run, frames: list[Frame]) -> bool:
        """Whether all that there is of a run is that it was accepted, while an earlier one of its thread goes on: on a
        serial connection that one may still ask something, whose answer's frames come first."""
        accepted = run.first_seq + 1
        waits = self._dialect.serial and run.queued and not self._begun
        return waits and all(frame.data.get("seq", 0) <= accepted for frame in frames)

    def _note(self, run: Run, seq: float) -> None:
        """Note that this connection has been sent a run up to here."""
        if self._connection and (principal := self._conversation.principal):
            self._services.remember(self._key(principal), run.id, seq)

    async def _store_place(self) -> None:
        """Keep what was noted for a connection with the same id, whatever process it meets."""
        if self._connection and (principal := self._conversation.principal):
            await self._services.store_position(self._key(principal))

    async def _show_thread(self, thread_id: str, cursor: Cursor) -> None:
        tick = self._services.settings.heartbeat_seconds
        async for frames in thread_frames(self._services.engine, thread_id, self._dialect, cursor, tick):
            for _, frame in frames or ():
                await self._send(frame.data)
        await self._leave_if_draining()

    async def _leave_if_draining(self) -> None:
        if self._services.engine.draining:
            await self._close(RESTART)

    async def _send(self, frame: dict[str, Any]) -> None:
        """Send a frame, once there is room for it. A reader that makes none is ended by the protocol."""
        async with self._sending:
            await self._socket.send_data(msgspec.json.encode(frame).decode())

    async def _close(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            await self._socket.close(code=code)

    def _spawn(self, work: Work) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, work: Work) -> None:
        """Follow until the client is gone; whatever else goes wrong is told to it."""
        try:
            await work()
        except (WebSocketDisconnect, OSError):
            return
        except Exception as error:
            log.exception("a stream broke")
            await self.fail(as_problem(error))

    def _now(self) -> int:
        return self._services.clock()


def _selected(offered: list[str]) -> str | None:
    """Return the subprotocol of the answer.

    A browser gives up if it offered some and none is selected, so a token that was offered alone
    goes back to its sender: nothing else would let it connect.
    """
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return _bearer(offered)


def _bearer(offered: list[str]) -> str | None:
    """Return the subprotocol that holds a token."""
    bearers = [name for name in offered if name.startswith(BEARER)]
    return bearers[0] if bearers else None


def _token(socket: WebSocket[Any, Any, Any], offered: list[str]) -> str | None:
    """The token that the opening request carries: in its header, as a subprotocol, or in its query."""
    header = socket.headers.get("authorization")
    bearer = (_bearer(offered) or "").removeprefix(BEARER)
    return header or bearer or socket.query_params.get("token") or None
