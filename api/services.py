"""What routes work with: the engine, authentication, the settings. Made once per application."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from litestar import Request as HttpRequest
from msgspec.structs import replace

from antiphon.api.auth import Authenticator
from antiphon.api.dialects.words import read_name
from antiphon.api.limits import ClientLimits
from antiphon.api.metrics import Metrics
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.api.settings import Settings
from antiphon.api.streams import START, Cursor, check_cursor, read_cursor
from antiphon.data import reads, transactions
from antiphon.data.errors import AntiphonError, NotFound, StorageError
from antiphon.data.records import Message, Thread, may
from antiphon.orchestrator.clock import Clock, now_ms
from antiphon.orchestrator.engine.engine import Engine
from antiphon.orchestrator.engine.run import Run
from antiphon.orchestrator.flows.library import FlowLibrary
from antiphon.orchestrator.request import Request

log = logging.getLogger("antiphon.access")

TICKET_SECONDS = 30
UUID_LENGTH = 36
TICK_SECONDS = 2.0
"""How often an open stream checks that its reader may still read."""
REVOCATION_SECONDS = 1.0
POSITIONS = 10_000
"""WebSocket connections whose place is kept for a reconnection; the oldest are dropped."""


@dataclass
class Services:
    """The parts that every route may need.

    `positions` are the places up to which WebSocket connections were served before they broke;
    those of earlier processes are in the database.
    """

    engine: Engine
    authenticator: Authenticator
    settings: Settings
    limits: ClientLimits
    metrics: Metrics
    clock: Clock = now_ms
    positions: OrderedDict[tuple[str, str, str], tuple[str, float]] = field(
        default_factory=OrderedDict
    )

    @property
    def flows(self) -> FlowLibrary:
        """The users' flows. Raises `NotFound` if the engine serves none."""
        if self.engine.flows is None:
            raise NotFound
        return self.engine.flows

    def remember(self, key: tuple[str, str, str], run_id: str, seq: float) -> None:
        """Note how far a connection has been served: `key` is `(user, dialect, connection)`."""
        self.positions[key] = (run_id, seq)
        self.positions.move_to_end(key)
        while len(self.positions) > POSITIONS:
            self.positions.popitem(last=False)

    async def store_position(self, key: tuple[str, str, str]) -> None:
        """Keep what was noted beyond the life of this process, if it can be stored."""
        if (noted := self.positions.get(key)) is not None:
            with suppress(StorageError):
                await self.engine.database.write(transactions.remember, key, *noted)

    async def position(self, key: tuple[str, str, str]) -> tuple[str, float] | None:
        """Return the run that a connection was shown last, and up to where; None if unknown."""
        return self.positions.get(key) or await self.engine.database.fetch(reads.position, key)

    async def start(self, request: Request, by: Principal) -> Run:
        """Accept a client's message.

        Raises what `Engine.accept` raises, and `Problem` RATE_LIMITED.
        """
        if self.limits.counts_runs:
            self.limits.runs(await self.engine.active_runs(by.id))
        if self.settings.user_tokens_per_day is not None:
            self.limits.tokens(await self.engine.tokens_used_today(by.id))
        name = request.thread_name
        if name is not None and await self._own_thread(name, by) is not None:
            request = replace(
                request, thread_id=name, thread_name=None
            )  # the client had no name for its thread
        return await self.engine.accept(request, by)

    async def start_requested(
        self, http: HttpRequest[Any, Any, Any], request: Request, by: Principal
    ) -> Run:
        """Accept a message that came over HTTP, with the key and the trace of its headers.

        Raises what `start` raises.
        """
        key = idempotency_key(http) or request.idempotency_key
        trace = http.headers.get("traceparent")
        return await self.start(replace(request, idempotency_key=key, traceparent=trace), by)

    async def thread_called(self, name: str, principal: Principal, dialect: str) -> Thread:
        """Return the thread that `start` finds by a client's name for it. Raises `NotFound`."""
        read_name(name, "session_id")
        thread = await self._own_thread(name, principal)
        thread = thread or await self.engine.database.fetch(
            reads.named_thread, principal.id, dialect, name
        )
        if thread is None:
            raise NotFound
        return thread

    async def last_message(self, run: Run) -> Message | None:
        """Return what a run has stored last: its answer, or its question; None if nothing."""
        messages = await self.engine.messages(run.thread_id, run.user_id)
        replies = [one for one in messages if one.run_id == run.id and one.role == "assistant"]
        return replies[-1] if replies else None

    async def _own_thread(self, name: str, principal: Principal) -> Thread | None:
        thread = (
            await self.engine.database.fetch(reads.thread, name)
            if len(name) == UUID_LENGTH
            else None
        )
        return thread if thread is not None and may(principal.id, thread) else None

    async def issue_ticket(self, principal: Principal) -> str:
        """Return a ticket that opens one WebSocket within `TICKET_SECONDS` for a principal."""
        ticket = secrets.token_urlsafe(32)
        now = self.clock()
        holder = msgspec.json.encode(principal)
        await self.engine.database.write(
            transactions.issue_ticket, _digest(ticket), holder, now, now + TICKET_SECONDS * 1000
        )
        return ticket

    async def redeem_ticket(self, ticket: str) -> Principal:
        """Redeem a single-use ticket and return its principal. Raises `Problem` AUTH_INVALID."""
        holder = await self.engine.database.write(
            transactions.redeem_ticket, _digest(ticket), self.clock()
        )
        if holder is None:
            raise Problem("AUTH_INVALID", "The ticket is not valid.")
        return msgspec.json.decode(holder, type=Principal)

    async def watch_revocations(self) -> None:
        """Keep the authenticator's list of revocations up to date, for ever."""
        while True:
            try:
                self.authenticator.note_revocations(
                    await self.engine.database.fetch(reads.revocations)
                )
            except Exception:
                log.exception("revocations could not be read, and will be again")
            await asyncio.sleep(REVOCATION_SECONDS)

    async def resumed(
        self, request: HttpRequest[Any, Any, Any], principal: Principal, dialect: str
    ) -> tuple[Run, Cursor] | None:
        """Return the run and the place that a request resumes; None if it begins something.

        `Last-Event-ID` counts more than `?last_event_id=`. Raises `NotFound` if the path's thread
        is not the caller's, `Problem` CURSOR_GONE if the cursor is of no run in the conversation.
        """
        text = request.headers.get("last-event-id") or request.query_params.get("last_event_id")
        if not text:
            return None
        place = request.path_params
        if "thread_id" in place:
            await self.engine.thread(place["thread_id"], principal.id)
        cursor = read_cursor(text)
        self.metrics.resumes.labels("sse").inc()
        try:
            run = await self.engine.run(cursor.run_id, principal.id)
        except NotFound:
            gone = "This is no event that the stream can be resumed from."
            raise Problem("CURSOR_GONE", gone) from None
        await check_cursor(self.engine, run.thread_id, cursor, principal.id)
        thread_id = place.get("thread_id", run.thread_id)
        if "session_id" in place:
            thread_id = (await self.thread_called(place["session_id"], principal, dialect)).id
        if run.thread_id != thread_id:
            raise Problem("CURSOR_GONE", "This event is not of this conversation.")
        return run, cursor


def _digest(ticket: str) -> bytes:
    return hashlib.sha256(ticket.encode()).digest()


def start_of(run: Run) -> Cursor:
    """Return where the stream of a message begins.

    That is the run's start, or the question that the message answered.
    """
    return START._replace(seq=run.answered)


def as_problem(error: Exception) -> Problem:
    """Return any error as one for the client. What the client cannot mend is logged."""
    if isinstance(error, Problem):
        return error
    if not isinstance(error, AntiphonError):
        return Problem(AntiphonError.code, AntiphonError.message)
    if error.code == StorageError.code:
        log.error("the store failed", exc_info=error)
    return Problem(error.code, error.message, details=error.details)


KEY_LIMIT = 255


def idempotency_key(request: HttpRequest[Any, Any, Any]) -> str | None:
    """Return the request's `Idempotency-Key`. Raises `Problem` BAD_REQUEST by its length."""
    key = request.headers.get("idempotency-key")
    if key is not None and not 0 < len(key) <= KEY_LIMIT:
        raise Problem("BAD_REQUEST", f"Idempotency-Key must have 1 to {KEY_LIMIT} characters.")
    return key
