"""A WebSocket conversation as a state machine, without a socket. Pure.

What arrives goes in, what is to be done comes out as actions; whoever has the socket carries them
out. Times are given from outside, in milliseconds.
"""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.api.dialects.base import Dialect
from antiphon.api.dialects.words import (
    AnswerQuestion,
    Ask,
    Cancel,
    Command,
    Leave,
    Login,
    Ping,
    Resume,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import CODES, Problem

POLICY = 1008
NOBODY = 4404
REFUSALS = 3
"""Failed logins after which the connection is closed."""


class Send(msgspec.Struct, frozen=True):
    """Send a frame."""

    frame: msgspec.Struct


class Verify(msgspec.Struct, frozen=True):
    """Check a token, and report `authenticated` or `refused`."""

    token: str


class Perform(msgspec.Struct, frozen=True):
    """Do what an authenticated client asked for."""

    command: Ask | Resume | Cancel | AnswerQuestion
    principal: Principal


class Then(msgspec.Struct, frozen=True):
    """Obey a command once the login that came with it is done."""

    command: Ask | Resume


class Close(msgspec.Struct, frozen=True):
    """Close the socket."""

    code: int


Action = Send | Verify | Perform | Then | Close


class Conversation:
    """One client. States: not logged in, logged in, closed."""

    def __init__(
        self, dialect: Dialect, connection_id: str = "", *, names_itself: bool = False
    ) -> None:
        self.principal: Principal | None = None
        self._names_itself = names_itself
        """Whether a client may say by a name who it is, as nobody has to log in."""
        self._dialect = dialect
        self._connection_id = connection_id
        self._refusals = 0
        self._token: str | None = None
        """The token that came with a command last."""
        self._believed = False
        """Whether it was believed."""

    def receive(self, text: str | None, at: int) -> list[Action]:
        """A frame has arrived; None stands for one that is not text."""
        try:
            return self._obey(self._dialect.read(_decoded(text)), at)
        except Problem as problem:
            return self.problem(problem, at)

    def then(self, command: Ask | Resume, at: int) -> list[Action]:
        """Obey a command that came with a login; nothing where that has failed."""
        return self._obey(command, at) if self._believed else []

    def _obey(self, command: Command, at: int) -> list[Action]:
        match command:
            case Login():
                return [Verify(command.token)]
            case Ping():
                return [Send(self._dialect.pong(at))]
            case Leave():
                return [Close(1000)]
        if (
            isinstance(command, Ask | Resume)
            and command.token is not None
            and self._wants(command.token)
        ):
            self._token, self._believed = command.token, False
            return [Verify(command.token), Then(msgspec.structs.replace(command, token=None))]
        if self.principal is None:
            raise Problem("AUTH_REQUIRED", "Authentication is required.")
        if self._names_itself and isinstance(command, Ask | Resume) and command.user is not None:
            self.principal = msgspec.structs.replace(self.principal, id=command.user)
        return [Perform(command, self.principal)]

    def _wants(self, token: str) -> bool:
        """Whether a token that came with a command is a login: the first one, or another one where
        one was needed.
        """
        if self.principal is None:
            return True
        return self.principal.expires_at is not None and token != self._token

    def authenticated(
        self, principal: Principal, at: int, *, asked: bool, silently: bool = False
    ) -> list[Action]:
        """Note who the client is. A renewal must be of the same user.

        `asked` reports whether the client sent a frame for it, `silently` that it neither sent a
        token nor needed one.
        """
        if self.principal is not None and self.principal.id != principal.id:
            return self.refused(Problem("AUTH_INVALID", "This connection is another user's."), at)
        self.principal = principal
        self._believed = True
        if silently and not self._dialect.greets:
            return []
        welcome = self._dialect.welcome(self._connection_id, principal, asked, at)
        return [Send(welcome)] if welcome is not None else []

    def silent(self, busy: bool, at: int) -> list[Action]:
        """Nothing came in time: a login is due, or the client is idle, unless a run is shown."""
        if self.principal is None:
            return self.fatal(Problem("AUTH_TIMEOUT", "There was no login in time."), at)
        return [] if busy else [Close(1000)]

    def expired(self, problem: Problem, at: int) -> list[Action]:
        """The login is not valid any more, and nobody renewed it."""
        return [Send(self._dialect.refused(problem, at)), Close(4401)]

    def refused(self, problem: Problem, at: int) -> list[Action]:
        """A login failed. What was valid before stays valid.

        One that could not be checked is no failure of the client's.
        """
        if problem.code == "UNAVAILABLE":
            return self.problem(problem, at)
        self._refusals += 1
        told: list[Action] = [Send(self._dialect.refused(problem, at))]
        return [*told, Close(4401)] if self._refusals >= REFUSALS else told

    def problem(self, problem: Problem, at: int) -> list[Action]:
        """Tell the client about an error of one frame; the conversation goes on, unless there is
        nobody to talk to.
        """
        told: list[Action] = [Send(self._dialect.problem(problem, at))]
        return [*told, Close(NOBODY)] if problem.code == "AGENT_NOT_FOUND" else told

    def fatal(self, problem: Problem, at: int) -> list[Action]:
        """Tell the client about an error of the connection, and close."""
        return [
            Send(self._dialect.problem(problem, at)),
            Close(CODES[problem.code].close or POLICY),
        ]


def _decoded(text: str | None) -> dict[str, Any]:
    if text is None:
        raise Problem("UNSUPPORTED_DATA", "Only text frames are understood here.")
    try:
        frame = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Problem("INVALID_JSON", "The frame is not valid JSON.") from None
    if not isinstance(frame, dict):
        raise Problem("BAD_REQUEST", "A frame must be a JSON object.")
    return frame
