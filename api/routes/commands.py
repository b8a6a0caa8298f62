"""Carries out what a logged-in WebSocket client asks for: messages, resumes, cancels, answers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec

from antiphon.api.dialects.base import Dialect
from antiphon.api.dialects.words import AnswerQuestion, Ask, Cancel, Resume
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.routes.showing import Shows
from antiphon.api.services import Services
from antiphon.api.streams import check_cursor, cursor_at
from antiphon.orchestrator.request import Request

Adapt = Callable[[Request, Principal], Awaitable[Request]]


class Commands:
    """The commands of one connection. What they start to follow is sent by `shows`."""

    def __init__(
        self,
        services: Services,
        dialect: Dialect,
        connection_id: str,
        shows: Shows,
        adapt: Adapt | None,
    ) -> None:
        self._services = services
        self._dialect = dialect
        self._connection_id = connection_id
        self._shows = shows
        self._adapt = adapt

    async def perform(
        self, command: Ask | Resume | Cancel | AnswerQuestion, principal: Principal
    ) -> None:
        """Carry out a command. Raises `AntiphonError`."""
        match command:
            case Ask():
                await self._ask(command.request, principal)
            case Resume():
                await self._resume(command, principal.id)
            case Cancel():
                await self._cancel(command.run_id, principal.id)
            case AnswerQuestion(run_id=run_id, answer=answer, id=question):
                engine = self._services.engine
                run = await engine.answer(run_id, answer, principal.id, question=question)
                self._shows.follow(run, run.answered)

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
            await self._shows.send(self._dialect.reset(1, last, self._services.clock()))
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
        showing = self._shows.turns.cancelled(run_id)
        if showing is not None:
            self._shows.follow(showing.run, showing.after)
