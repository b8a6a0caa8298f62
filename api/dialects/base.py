"""What a dialect is: a pure fold from recorded events to frames, and the words for everything around a run. Pure.

No clock, no chance, no await: the same events always give the same frames, so a client can resume at any of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, NamedTuple, Protocol, Self

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.bounds import MESSAGE_LIMIT
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Interrupt,
    InterruptAnswered,
    Recorded,
    RunAttempt,
)
from antiphon.orchestrator.recording.texts import GAP, Texts, joined
from antiphon.orchestrator.recording.texts import Text as StandingText
from antiphon.orchestrator.recording.view import NO_ANSWER, RESUMED
from antiphon.orchestrator.request import MODES, Request

NAME_LIMIT = 128
"""Characters of a client's own name for a thread or a connection."""
NAMES_LIMIT = 16

Text = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": MESSAGE_LIMIT, "pattern": r"[^\s\x00]"})]
"""A message to be answered. What is said here, and in the next two, is documentation: `Engine` and `read` refuse."""
Name = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": NAME_LIMIT, "pattern": r"^[^\x00]*$"})]
"""A name or an id."""
Names = Annotated[list[str], msgspec.Meta(extra_json_schema={"maxItems": NAMES_LIMIT})]
Mode = Annotated[str, msgspec.Meta(extra_json_schema={"enum": [*MODES, "enhanced_collaborative"]})]


def needs(*names: str) -> msgspec.Meta:
    """Tells of a body that it has at least one of these texts: without any, it is refused as EMPTY_MESSAGE."""
    choices = [{"required": [name], "properties": {name: {"type": "string"}}} for name in names]
    return msgspec.Meta(extra_json_schema={"anyOf": choices} if len(choices) > 1 else choices[0])


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One message to the client. `event` is its SSE event name, where the dialect uses one."""

    data: dict[str, Any]
    event: str | None = None
    pause: int = 0
    """Milliseconds that the client wants between it and the frame with a pause before it."""


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Base of what a dialect sends, one class for each type of frame. `seq` and `run_id` are ours: see `numbered`.

    The classes are the registry: the schemas, the reference and the tests' validators come from a dialect's `frames`.
    """

    seq: float | UnsetType = UNSET
    run_id: str | UnsetType = UNSET


class Received(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Base of what a client may send on a WebSocket, one class for each type of frame; other fields are ignored."""


class Fold(Protocol):
    """The state of one stream in one dialect."""

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of the next event; often one, sometimes none."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A client sends a message."""

    request: Request
    token: str | None = None
    """A login that came with it."""
    user: str | None = None
    """Who asks, if nobody has to log in."""


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """A client wants the rest of a run, or of a thread for ever, behind event `after`."""

    run_id: str | None = None
    thread_id: str | None = None
    after: float = 0
    token: str | None = None
    """A login that came with it."""
    user: str | None = None
    """Whose it is, where nobody has to log in."""


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """A client says who it is."""

    token: str


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """A client wants a run stopped: this one, or the one that it is following."""

    run_id: str | None = None


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to the human, with its details; the client's next message answers it."""

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None

    @classmethod
    def all(cls, event: Interrupt) -> list[Self]:
        """What a run asks, the oldest question first."""
        details = (
            {"id": one.id, "question": one.question, "options": one.options, "schema": one.schema} for one in event.open
        )
        return [cls(**one) for one in details]


class Questions(Question, frozen=True, kw_only=True):
    """The oldest open question; the client's next message answers it. `questions` are all, if there are several."""

    questions: list[Question] | UnsetType = UNSET

    @classmethod
    def of(cls, event: Interrupt) -> Questions:
        """What a run asks."""
        asked = Question.all(event)
        return cls(**msgspec.structs.asdict(asked[0]), questions=asked if len(asked) > 1 else UNSET)


class AnswerQuestion(msgspec.Struct, frozen=True, kw_only=True):
    """A human's answer to a run that waits; to question `id`, if it says so."""

    run_id: str
    answer: Any
    id: str | None = None


class Ping(msgspec.Struct, frozen=True):
    """A client wants a sign of life."""


class Leave(msgspec.Struct, frozen=True):
    """A client says goodbye."""


Command = Ask | Resume | Login | Cancel | AnswerQuestion | Ping | Leave


class Dialect(ABC):
    """One vocabulary. `serial` dialects show one run after the other on a WebSocket; others mix them.

    One without a WebSocket has a name, `frames`, a fold, and words for a problem; the rest is as it stands here.
    """

    name: str
    serial: bool = True
    frames: tuple[type[msgspec.Struct], ...]
    """All that it sends, a class for each type of frame."""
    asks: tuple[type[msgspec.Struct], ...] = ()
    """All that it understands on a WebSocket; empty where it has none."""

    @abstractmethod
    def fold(self) -> Fold:
        """A fresh fold, for one run."""

    @abstractmethod
    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """An error, as a WebSocket frame and as an HTTP body; where there is no WebSocket, as the latter."""

    def read(self, frame: dict[str, Any]) -> Command:
        """What a client's WebSocket frame means. Raises `Problem`."""
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """The answer to a login; `asked` says whether the client sent one as a message."""
        return None

    def pong(self, at: int) -> dict[str, Any]:
        """The answer to a ping."""
        return {}

    def refused(self, problem: Problem, at: int) -> dict[str, Any]:
        """The answer to a login that failed."""
        return self.problem(problem, at)

    def reset(self, first: int, last: int, at: int) -> dict[str, Any]:
        """A cursor cannot be served; these are the numbers that can."""
        return self.problem(Problem("CURSOR_GONE", f"Events {first} to {last} can be resumed."), at)


def numbered(sent: Sequence[Sent], recorded: Recorded) -> list[dict[str, Any]]:
    """Frames of one event as plain values, with the numbers by which a WebSocket client resumes.

    `seq` says up to where everything was delivered. The last frame of an event completes it and has its number; those
    before it have the number before, and their own in hundredths: 6.01, 6.02, 7. Beyond the 99th they share the last of
    these, which is for vocabularies without a WebSocket.
    """
    frames = [built(frame) for frame in sent]
    last = len(frames) - 1
    for k, frame in enumerate(frames):
        frame["run_id"] = recorded.run_id
        frame["seq"] = recorded.seq if k == last else number(recorded.seq, k)
    return frames


def built(frame: msgspec.Struct) -> dict[str, Any]:
    """A frame as plain values."""
    values: dict[str, Any] = msgspec.to_builtins(frame)
    return values


def number(event: int, frame: int) -> float:
    """The number of a frame that does not complete its event; the event's own for all of its frames."""
    return event if frame == ALL_FRAMES else round(event - 1 + min(frame + 1, 99) / 100, 2)


def place(seq: float) -> tuple[int, int]:
    """The `(event, frame)` that a number of `numbered` stands for; all frames of an event for a whole number."""
    whole, part = int(seq), round((seq - int(seq)) * 100)
    return (whole + 1, part - 1) if part else (whole, ALL_FRAMES)


ALL_FRAMES = 1 << 30


STOPPED = ("interrupted", "cancelled", "failed")
"""How agents finish who have not completed their step; the question or the error that follows tells why."""


GOING_ON = (RESUMED, NO_ANSWER)
"""Reasons of attempts that begin nothing anew."""


class News(NamedTuple):
    """What a client has to be sent of the answer now, and the agent and span that said it."""

    span: str
    agent: str
    text: str


class ShownText:
    """The answer as a client sees it that cannot take text back, beside the answer as it is.

    Several texts are joined by a blank line. After a superseding event nothing is sent while the new text is only what
    was shown already; then the remainder goes out. Text that differs from what was shown is not sent at all: the final
    frame carries the whole. A question to a human divides the answer: what is said after it is a message of its own.
    """

    def __init__(self) -> None:
        self.shown = ""
        self._texts = Texts()
        self._live: StandingText | None = None
        """The text that is shown up to its last piece, and goes on."""

    @property
    def text(self) -> str:
        """The answer as it stands, as far as it may be shown."""
        return joined(self._texts.presentable())

    def feed(self, event: AnyEvent) -> list[News]:
        """Take an event; returns what the client has to be sent of the answer now."""
        match event:
            case AgentChunk(channel="answer"):
                self._texts.see(event)
                if self._live is not None and self._live.key == (event.span, event.part):
                    self.shown += event.text
                    return [News(event.span, event.agent, event.text)]
                return self._news()
            case RunAttempt():
                self._texts.drop(event.supersedes)
                return self._news()
            case InterruptAnswered():
                self.shown, self._texts, self._live = "", Texts(), None
            case AgentStart():
                self._texts.see(event)
            case AgentTextEnd() | AgentComplete() | AgentError():
                self._texts.see(event)
                return self._news()
        return []

    def feed_text(self, event: AnyEvent) -> str:
        """Like `feed`, for clients that do not care who said it."""
        return "".join(news.text for news in self.feed(event))

    def asked(self, question: str) -> str:
        """The message that a question to the human is stored as: after what was said before."""
        return joined([self._texts.answer, question])

    def rest(self, text: str) -> str:
        """What the client lacks of the final text; nothing if it was shown something else."""
        return text[len(self.shown) :] if text.startswith(self.shown) else ""

    def unsay(self, text: str) -> None:
        """The end of what `feed` returned was not sent after all."""
        self.shown = self.shown.removesuffix(text)
        self._live = None

    def _news(self) -> list[News]:
        texts = self._texts.presentable()
        pieces = [GAP + str(text) if index else str(text) for index, text in enumerate(texts)]
        whole = "".join(pieces)
        self._live = None
        if not whole.startswith(self.shown):
            return []
        if texts and not texts[-1].ended:
            self._live = texts[-1]
        news, begin = [], 0
        for text, piece in zip(texts, pieces, strict=True):
            unsent = piece[max(len(self.shown) - begin, 0) :]
            begin += len(piece)
            if unsent:
                news.append(News(text.key[0], text.agent, unsent))
        self.shown = whole
        return news


def iso(at: int) -> str:
    """A time in milliseconds as ISO 8601 in UTC, with milliseconds and `Z`."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03}Z"


def text_field(frame: dict[str, Any], *names: str) -> Any:
    """The first of some fields that a frame has; None where it has none."""
    return next((frame[name] for name in names if frame.get(name) is not None), None)


def name_field(frame: dict[str, Any], *names: str) -> str | None:
    """Like `text_field`, for names and ids: a non-empty text of bounded length. Raises `Problem`."""
    value = text_field(frame, *names)
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > NAME_LIMIT or "\0" in value:
        raise Problem("BAD_REQUEST", f"{names[0]} must be a text of at most {NAME_LIMIT} characters.")
    return value


def names_field(frame: dict[str, Any], name: str) -> tuple[str, ...]:
    """A list of names. Raises `Problem`."""
    value = frame.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > NAMES_LIMIT or not all(isinstance(one, str) for one in value):
        raise Problem("BAD_REQUEST", f"{name} must be a list of texts.")
    return tuple(value)


def object_field(frame: dict[str, Any], name: str) -> dict[str, Any]:
    """An object, empty if it is missing or null. Raises `Problem`."""
    value = frame.get(name)
    if value is not None and not isinstance(value, dict):
        raise Problem("BAD_REQUEST", f"{name} must be an object.")
    return value or {}


def number_field(frame: dict[str, Any], *names: str) -> float:
    """A number of an event or of a frame in it, 0 where it is missing. Raises `Problem`."""
    value = text_field(frame, *names)
    if value is None:
        return 0
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value < 2**53:
        raise Problem("BAD_REQUEST", f"{names[0]} must be a number of an event.")
    return value
