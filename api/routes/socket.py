"""Carries out WebSocket conversations: reads frames, logs in, obeys commands, and sends.

What is to be done is decided in `connection.py` and `turns.py`, without a socket. The reader never
stops reading, so pings are answered, and a client that leaves is noticed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from antiphon.api.connection import Action, Close, Conversation, Perform, Send, Then, Verify
from antiphon.api.dialects.base import Dialect, encoded
from antiphon.api.dialects.words import AnswerQuestion, Ask, Cancel, Resume
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.showing import Delivery, Shows
from antiphon.api.services import TICK_SECONDS, Services, as_problem
from antiphon.api.streams import check_cursor, cursor_at
from antiphon.api.turns import coming_back
from antiphon.data.errors import AntiphonError
from antiphon.orchestrator.request import Request

audit = logging.getLogger("antiphon.audit")

SUBPROTOCOL = "chat.v1"
BEARER = "bearer."
RESTART = 1012
Adapt = Callable[[Request, Principal], Awaitable[Request]]


async def converse(
    socket: WebSocket[Any, Any, Any],
    dialect: Dialect,
    services: Services,
    connection_id: str | None = None,
    adapt: Adapt | None = None,
    idle_seconds: float | None = None,
) -> None:
    """Serve one WebSocket from its acceptance to its end.

    `adapt` completes messages by what the route knows. A connection on which nothing happens for
    `idle_seconds` is closed.
    """
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(subprotocols=_selected(offered))
    talk = _Talk(socket, dialect, services, connection_id or "", adapt)
    try:
        with services.metrics.streams.labels("websocket").track_inprogress():
            await talk.serve(offered, idle_seconds or None)
    except AntiphonError as error:
        await talk.fail(error)
    except (WebSocketDisconnect, OSError):
        return
    finally:
        await talk.end()


class _Talk:
    """One connection: carries out what its conversation decides."""

    def __init__(
        self,
        socket: WebSocket[Any, Any, Any],
        dialect: Dialect,
        services: Services,
        connection_id: str,
        adapt: Adapt | None,
    ) -> None:
        self._socket = socket
        self._dialect = dialect
        self._services = services
        self._connection_id = connection_id
        self._adapt = adapt
        names_itself = not services.authenticator.required
        self._conversation = Conversation(dialect, connection_id, names_itself=names_itself)
        self._place = Delivery(services, dialect, connection_id)
        self._shows = Shows(services, dialect, self._place, self._send, self.fail, self._restart)
        self._sending = asyncio.Lock()
        self._closed = False
        self._count_frame = services.limits.frames()
        self._counted = ExitStack()

    # -- the connection ----------------------------------------------------------------------------

    async def serve(self, offered: list[str], idle_seconds: float | None) -> None:
        """Log in by what the request carries, then obey frames until the client leaves."""
        self._counted.enter_context(self._services.limits.anonymous())
        await self._log_in(offered)
        clock = asyncio.get_running_loop().time
        login_until = clock() + self._services.settings.auth_seconds
        while not self._closed:
            idle_until = clock() + idle_seconds if idle_seconds else None
            until = login_until if self._conversation.principal is None else idle_until
            try:
                async with asyncio.timeout_at(until):
                    text = await self._receive()
            except TimeoutError:
                busy = self._shows.turns.current is not None
                await self._act(self._conversation.silent(busy, self._now()))
                continue
            self._count_frame()
            await self._act(self._conversation.receive(text, self._now()))

    async def fail(self, error: Exception) -> None:
        """Report why the connection has to end, and close it."""
        with suppress(WebSocketDisconnect, OSError):
            await self._act(self._conversation.fatal(as_problem(error), self._now()))

    async def end(self) -> None:
        """Stop following; runs go on."""
        self._counted.close()
        await self._shows.end()

    async def _receive(self) -> str | None:
        """Return the next text; None for a binary frame, which Litestar's reading makes empty."""
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

    async def _send(self, frame: msgspec.Struct | str) -> None:
        """Send a frame, once there is room for it.

        The protocol ends the connection of a reader that makes none.
        """
        async with self._sending:
            await self._socket.send_data(encoded(frame).decode())

    async def _close(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            await self._socket.close(code=code)

    async def _restart(self) -> None:
        """Send the client to another process."""
        await self._close(RESTART)

    def _now(self) -> int:
        return self._services.clock()

    # -- logins ------------------------------------------------------------------------------------

    async def _log_in(self, offered: list[str]) -> None:
        """Log in by the opening request: a ticket, a token, or nothing with auth off."""
        query = self._socket.query_params
        token = _token(self._socket, offered)
        if query.get("ticket"):
            await self._redeem(query["ticket"])
        elif token is not None or not self._services.authenticator.required:
            await self._verify(token, asked=False)
        elif query.get("token") == "":
            await self._verify("", asked=False)

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
        about = {"code": problem.code, "path": self._socket.scope["path"], "client": client}
        audit.warning("refused a login", extra=about)
        self._services.metrics.refusals.labels(problem.code).inc()
        await self._act(self._conversation.refused(problem, self._now()))

    async def _let_in(self, principal: Principal, *, asked: bool, silently: bool = False) -> None:
        """Welcome a client. A renewal only moves the end of its login."""
        first = self._conversation.principal is None
        if first:
            self._services.limits.check_connections(principal.id)
            self._counted.close()
            self._counted.enter_context(self._services.limits.connection(principal.id))
        now = self._now()
        await self._act(
            self._conversation.authenticated(principal, now, asked=asked, silently=silently)
        )
        if not first:
            return
        if principal.expires_at is not None:
            self._shows.spawn(self._watch_login)
        self._place.user = principal.id
        if known := await self._place.known():
            last_seq = self._socket.query_params.get("last_seq", "")
            await self._perform(Perform(coming_back(*known, last_seq), principal))

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

    # -- commands ----------------------------------------------------------------------------------

    async def _perform(self, action: Perform) -> None:
        command, user = action.command, action.principal.id
        self._place.user = user
        engine = self._services.engine
        try:
            match command:
                case Ask():
                    await self._ask(command.request, action.principal)
                case Resume():
                    await self._resume(command, user)
                case Cancel():
                    await self._cancel(command.run_id, user)
                case AnswerQuestion(run_id=run_id, answer=answer, id=question):
                    run = await engine.answer(run_id, answer, user, question=question)
                    self._shows.follow(run, run.answered)
        except AntiphonError as error:
            await self._act(self._conversation.problem(as_problem(error), self._now()))

    async def _ask(self, request: Request, principal: Principal) -> None:
        self._shows.turns.check_room()
        if self._connection_id and request.thread_id is None and request.thread_name is None:
            name = f"connection:{self._connection_id}"
            request = msgspec.structs.replace(request, thread_name=name)
        if self._adapt is not None:
            request = await self._adapt(request, principal)
        run = await self._services.start(request, principal)
        self._shows.follow(run, run.answered)

    async def _resume(self, command: Resume, user: str) -> None:
        engine = self._services.engine
        run = None
        if command.thread_id is not None:
            thread_id = (await engine.thread(command.thread_id, user)).id
        elif command.run_id is not None:
            run = await engine.run(command.run_id, user)
            thread_id = run.thread_id
        else:
            raise Problem("BAD_REQUEST", "resume takes run_id.")
        cursor = cursor_at(command.after)
        self._services.metrics.resumes.labels("websocket").inc()
        try:
            await check_cursor(engine, thread_id, cursor, user)
        except Problem:
            last = (await engine.thread(thread_id, user)).last_seq
            await self._send(self._dialect.reset(1, last, self._now()))
            return
        if run is not None:
            self._shows.follow(run, command.after)
        else:
            self._shows.follow_thread(thread_id, cursor)

    async def _cancel(self, run_id: str | None, user: str) -> None:
        """Stop a run: the one that is named, or the one that is shown."""
        run_id = run_id or self._shows.turns.to_cancel()
        if run_id is None:
            return
        await self._services.engine.cancel(run_id, user)
        showing: Any = self._shows.turns.cancelled(run_id)
        if showing is not None:
            self._shows.follow(showing.run, showing.after)


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
    """Return the token of the opening request: from its header, a subprotocol, or its query."""
    header = socket.headers.get("authorization")
    bearer = (_bearer(offered) or "").removeprefix(BEARER)
    return header or bearer or socket.query_params.get("token") or None
