"""A WebSocket conversation as a state machine, without a socket. Pure.

What arrives goes in, what is to be done comes out as actions, which `routes/socket.py` carries out.
Times come from outside, in milliseconds.
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
NO_AGENT = 4404
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
        """The token that came with the latest command that had one."""
        self._accepted = False
        """Whether the latest login was accepted."""

    def receive(self, text: str | None, at: int) -> list[Action]:
        """Take a frame that has arrived; None stands for one that is not text."""
        try:
            return self._obey(self._dialect.read(_decoded(text)), at)
        except Problem as problem:
            return self.problem(problem, at)

    def then(self, command: Ask | Resume, at: int) -> list[Action]:
        """Obey a command that came with a login, unless that login failed."""
        return self._obey(command, at) if self._accepted else []

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
            self._token, self._accepted = command.token, False
            return [Verify(command.token), Then(msgspec.structs.replace(command, token=None))]
        if self.principal is None:
            raise Problem("AUTH_REQUIRED", "Authentication is required.")
        if self._names_itself and isinstance(command, Ask | Resume) and command.user is not None:
            self.principal = msgspec.structs.replace(self.principal, id=command.user)
        return [Perform(command, self.principal)]

    def _wants(self, token: str) -> bool:
        """Return whether a token that came with a command is to be checked as a login.

        It is if there was no login yet, or if the token differs from the one that is in use.
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
        self._accepted = True
        if silently and not self._dialect.greets:
            return []
        welcome = self._dialect.welcome(self._connection_id, principal, asked, at)
        return [Send(welcome)] if welcome is not None else []

    def silent(self, busy: bool, at: int) -> list[Action]:
        """End the connection if nothing arrived in time, unless a run is shown (`busy`)."""
        if self.principal is None:
            return self.fatal(Problem("AUTH_TIMEOUT", "There was no login in time."), at)
        return [] if busy else [Close(1000)]

    def expired(self, problem: Problem, at: int) -> list[Action]:
        """End the connection because its login has expired or was revoked, and was not renewed."""
        return [Send(self._dialect.refused(problem, at)), Close(4401)]

    def refused(self, problem: Problem, at: int) -> list[Action]:
        """Report a login that failed; the third one closes. An earlier login stays valid.

        A login that could not be checked does not count as a failure.
        """
        if problem.code == "UNAVAILABLE":
            return self.problem(problem, at)
        self._refusals += 1
        report = Send(self._dialect.refused(problem, at))
        return [report, Close(4401)] if self._refusals >= REFUSALS else [report]

    def problem(self, problem: Problem, at: int) -> list[Action]:
        """Report an error of one frame. The conversation goes on unless there is no agent."""
        report = Send(self._dialect.problem(problem, at))
        return [report, Close(NO_AGENT)] if problem.code == "AGENT_NOT_FOUND" else [report]

    def fatal(self, problem: Problem, at: int) -> list[Action]:
        """Report an error of the connection, and close it."""
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
