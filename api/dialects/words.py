"""What clients may send: declared once, as classes, and read by these declarations only. Pure.

A `Received` class is a frame of a WebSocket, known by its `type`; a `ClientMessage` class is the
body of an HTTP request as well. What `/schema` shows and what is accepted are one thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec

from antiphon.api.problems import Problem
from antiphon.orchestrator.bounds import MESSAGE_LIMIT
from antiphon.orchestrator.errors import EmptyMessage
from antiphon.orchestrator.request import MODES, Request

NAME_LIMIT = 128
"""Characters of a client's own name for a thread or a connection."""
NAMES_LIMIT = 16

NAME = msgspec.Meta(max_length=NAME_LIMIT, pattern=r"^[^\x00]*$")
Name = Annotated[str, NAME]
"""A name or an id. An empty one counts as none."""
Id = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_LIMIT, pattern=r"^[^\x00]+$")]
Names = Annotated[list[str], msgspec.Meta(max_length=NAMES_LIMIT)]
Place = Annotated[float, msgspec.Meta(ge=0, lt=2**53)]
"""The `seq` of an event, or of a frame within it."""
Text = Annotated[
    str, msgspec.Meta(extra_json_schema={"maxLength": MESSAGE_LIMIT, "pattern": r"[^\s\x00]"})
]
"""A message to be answered. `Engine.accept` holds its limits, by EMPTY_MESSAGE and TOO_LARGE."""
Mode = Annotated[
    str, msgspec.Meta(extra_json_schema={"enum": ["", *MODES, "enhanced_collaborative"]})
]
"""How agents work together; an empty one counts as none. `Engine.accept` refuses any other."""


# -- commands: what the server is to do ------------------------------------------------------------


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Answer a message."""

    request: Request
    token: str | None = None
    """A login that came with it."""
    user: str | None = None
    """The client's name for itself, for servers with auth off."""


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """Show the rest of a run, or of a thread for ever, after event `after`."""

    run_id: str | None = None
    thread_id: str | None = None
    after: float = 0
    token: str | None = None
    """A login that came with it."""
    user: str | None = None
    """The client's name for itself, for servers with auth off."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """Check who the client is."""

    token: str


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Stop a run: this one, or the one that the client is following."""

    run_id: str | None = None


class AnswerQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """Give a human's answer to a run that waits; to question `id`, if there is one."""

    run_id: str
    answer: Any
    id: str | None = None


class Ping(msgspec.Struct, frozen=True):
    """Send a sign of life."""


class Leave(msgspec.Struct, frozen=True):
    """Close the connection."""


Command = Ask | Resume | Login | Cancel | AnswerQuestion | Ping | Leave


# -- words: what clients send ----------------------------------------------------------------------


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what a client may send, one class for each `type` (msgspec's `tag`).

    Unknown fields are ignored; what does not fit the declared ones is refused.
    """

    text_field: ClassVar[str | None] = None
    """The field that holds the message: without it the refusal is EMPTY_MESSAGE."""

    def command(self) -> Command:
        """Return what is to be done."""
        raise NotImplementedError


class ClientMessage(Received, frozen=True, kw_only=True):
    """Base of messages to be answered, as frames and as bodies of HTTP requests."""

    def request(self) -> Request:
        """Return the message in the engine's terms; its `dialect` is set by the vocabulary."""
        raise NotImplementedError

    def command(self) -> Command:
        """Return `Ask`."""
        return Ask(request=self.request())


class ClientAuth(Received, frozen=True, kw_only=True, tag="auth"):
    """Log in."""

    token: str | None = None

    def command(self) -> Command:
        """Return `Login`; a missing token is not valid."""
        return Login(token=self.token or "")


class ClientPing(Received, frozen=True, kw_only=True, tag="ping"):
    """Ask for a sign of life."""

    def command(self) -> Command:
        """Return `Ping`."""
        return Ping()


class ClientCancel(Received, frozen=True, kw_only=True, tag="cancel"):
    """Stop a run: this one, or the one under way."""

    run_id: Name | None = None

    def command(self) -> Command:
        """Return `Cancel`."""
        return Cancel(run_id=self.run_id or None)


class ClientResume(Received, frozen=True, kw_only=True, tag="resume"):
    """Go on after frame `last_seq` of a run; `after` is another name of `last_seq`."""

    run_id: Id
    last_seq: Place | None = None
    after: Place | None = None

    def command(self) -> Command:
        """Return `Resume`."""
        return Resume(run_id=self.run_id, after=first(self.last_seq, self.after, 0))


class ClientDisconnect(Received, frozen=True, kw_only=True, tag="disconnect"):
    """Say goodbye."""

    def command(self) -> Command:
        """Return `Leave`."""
        return Leave()


# -- reading ---------------------------------------------------------------------------------------

R = TypeVar("R", bound=Received)
T = TypeVar("T")
_MISSING = re.compile(r"Object missing required field `(\w+)`$")
_NULL = re.compile(r"Expected `.*`, got `null` - at `\$\.(\w+)`$")


def read_frame(frame: Mapping[str, Any], words: Iterable[type[Received]]) -> Received:
    """Return a frame as the one of some words that has its `type`. Raises `Problem`."""
    kinds = {kind.__struct_config__.tag: kind for kind in words}
    tag = frame.get("type")
    kind = kinds.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")
    return read_object(frame, kind)


def read_object(values: Any, kind: type[R], *, strict: bool = True) -> R:
    """Return decoded JSON as a declared class. Raises `Problem` BAD_REQUEST or EMPTY_MESSAGE."""
    try:
        return msgspec.convert(values, kind, strict=strict)
    except msgspec.ValidationError as error:
        raise refusal(str(error), kind.text_field) from None


def read_body(body: bytes, kind: type[R]) -> R:
    """Return the body of an HTTP request as a declared class. Raises `Problem`."""
    if not body:
        raise Problem("BAD_REQUEST", "The body is empty.")
    try:
        values = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise Problem("INVALID_JSON", "The body is not valid JSON.") from None
    return read_object(values, kind)


def read_name(value: str, what: str) -> str:
    """Return a name that stands in an address. Raises `Problem` BAD_REQUEST."""
    try:
        return msgspec.convert(value, Id)
    except msgspec.ValidationError:
        limit = f"1 to {NAME_LIMIT} characters"
        raise Problem("BAD_REQUEST", f"{what} must be a text of {limit}.") from None


def refusal(reason: str, text_field: str | None = None) -> Problem:
    """Return msgspec's refusal as an error for the client, with the path of the field."""
    empty = _MISSING.match(reason) or _NULL.match(reason)
    if empty is not None and empty[1] == text_field:
        return Problem(EmptyMessage.code, EmptyMessage.message)
    sentence, _, path = reason.partition(" - at `$")
    field = path.rstrip("`").lstrip(".")
    if not field:
        return Problem("BAD_REQUEST", f"{sentence}.")
    return Problem("BAD_REQUEST", f"{field}: {sentence[0].lower()}{sentence[1:]}.")


def first(*values: T | None) -> Any:
    """Return the first value that is not None; None if there is none."""
    for value in values:
        if value is not None:
            return value
    return None


def needs(*names: str) -> msgspec.Meta:
    """Document that a message has at least one of these texts."""
    choices = [{"required": [name], "properties": {name: {"type": "string"}}} for name in names]
    return msgspec.Meta(extra_json_schema={"anyOf": choices})
