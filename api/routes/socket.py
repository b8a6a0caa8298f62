"""Carries out WebSocket conversations: reads frames, logs in, passes commands on, and sends.

What is to be done is decided in `connection.py` and `turns.py`, without a socket. The reader never
stops reading, so pings are answered, and a client that leaves is noticed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import ExitStack, suppress
from typing import Any

import msgspec
from litestar import WebSocket
from litestar.exceptions import WebSocketDisconnect

from antiphon.api.connection import Action, Close, Conversation, Perform, Send, Then, Verify
from antiphon.api.dialects.base import Dialect, encoded
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.commands import Adapt, Commands
from antiphon.api.routes.showing import Delivery, Shows
from antiphon.api.services import TICK_SECONDS, Services, as_problem
from antiphon.api.turns import coming_back
from antiphon.data.errors import AntiphonError

audit = logging.getLogger("antiphon.audit")

SUBPROTOCOL = "chat.v1"
BEARER = "bearer."
RESTART = 1012


async def converse(
    socket: WebSocket[Any, Any, Any],
    dialect: Dialect,
    services: Services,
    connection_id: str | None = None,
    adapt: Adapt | None = None,
    idle_seconds: float | None = None,
) -> None:
    """Serve one WebSocket from its acceptance to its end.

    `adapt` adds what the route knows to each message. A connection on which nothing happens for
    `idle_seconds` is closed; None or 0 is never.
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
        self._services = services
        names_itself = not services.authenticator.required
        self._conversation = Conversation(dialect, connection_id, names_itself=names_itself)
        self._place = Delivery(services, dialect, connection_id)
        self._shows = Shows(services, dialect, self._place, self._send, self.fail, self._restart)
        self._commands = Commands(services, dialect, connection_id, self._shows, adapt)
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
        """Return the next text; None for a binary frame, which Litestar would read as empty."""
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

    async def _perform(self, action: Perform) -> None:
        self._place.user = action.principal.id
        try:
            await self._commands.perform(action.command, action.principal)
        except AntiphonError as error:
            await self._act(self._conversation.problem(as_problem(error), self._now()))

    async def _send(self, frame: msgspec.Struct | str) -> None:
        """Send a frame as soon as there is room for it.

        `PatientSocket` ends the connection if the client reads nothing for too long.
        """
        async with self._sending:
            await self._socket.send_data(encoded(frame).decode())

    async def _close(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            await self._socket.close(code=code)

    async def _restart(self) -> None:
        """Close the connection because the server stops; the client may connect again."""
        await self._close(RESTART)

    def _now(self) -> int:
        return self._services.clock()

    # -- logins ------------------------------------------------------------------------------------

    async def _log_in(self, offered: list[str]) -> None:
        """Log in by the opening request: a ticket, a token, or nothing with auth off."""
        query = self._socket.query_params
        token = _token(self._socket, offered)
        if query.get("ticket"):
            await self._admit(self._services.redeem_ticket(query["ticket"]), asked=False)
        elif token is not None or not self._services.authenticator.required:
            await self._verify(token, asked=False)
        elif query.get("token") == "":
            await self._verify("", asked=False)

    async def _verify(self, token: str | None, *, asked: bool) -> None:
        check = self._services.authenticator.principal(token)
        await self._admit(check, asked=asked, silently=token is None)

    async def _admit(
        self, check: Awaitable[Principal], *, asked: bool, silently: bool = False
    ) -> None:
        """Let in the client that `check` returns, or report the `Problem` that it raises."""
        try:
            principal = await check
        except Problem as problem:
            await self._refuse(problem)
        else:
            await self._let_in(principal, asked=asked, silently=silently)

    async def _refuse(self, problem: Problem) -> None:
        client = self._socket.client.host if self._socket.client else None
        about = {"code": problem.code, "path": self._socket.scope["path"], "client": client}
        audit.warning("refused a login", extra=about)
        self._services.metrics.refusals.labels(problem.code).inc()
        await self._act(self._conversation.refused(problem, self._now()))

    async def _let_in(self, principal: Principal, *, asked: bool, silently: bool) -> None:
        """Welcome a client; if it is logged in already, only renew its login."""
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
        """Close the connection as soon as its login is no longer valid; the runs go on."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            principal = self._conversation.principal
            try:
                if principal is not None:
                    self._services.authenticator.check(principal, self._now())
            except Problem as problem:
                await self._act(self._conversation.expired(problem, self._now()))
                return


def _selected(offered: list[str]) -> str | None:
    """Return the subprotocol to select, or None.

    A browser fails the connection if it offered subprotocols and none is selected. So a client that
    offers only its token has it selected.
    """
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return _bearer(offered)


def _bearer(offered: list[str]) -> str | None:
    """Return the first subprotocol that holds a token, or None."""
    bearers = [name for name in offered if name.startswith(BEARER)]
    return bearers[0] if bearers else None


def _token(socket: WebSocket[Any, Any, Any], offered: list[str]) -> str | None:
    """Return the token of the opening request: from its header, a subprotocol, or its query."""
    header = socket.headers.get("authorization")
    bearer = (_bearer(offered) or "").removeprefix(BEARER)
    return header or bearer or socket.query_params.get("token") or None
