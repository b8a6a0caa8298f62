"""A vocabulary: a pure fold from recorded events to frames, and the words around a run. Pure.

No clock, no chance, no await: the same events always give the same frames, so a client can resume
after any of them. `docs/adding.md` shows a complete one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from antiphon.api.dialects.shown import News, ShownText
from antiphon.api.dialects.words import Ask, ClientMessage, Command, Received, read_frame
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.data import records
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.recording.view import NO_ANSWER, RESUMED
from antiphon.orchestrator.request import Request

STOPPED = ("interrupted", "cancelled", "failed")
"""Finish reasons of agents that have not completed their step; the next frame reports why."""
TOOL_EVENTS = ("tool_start", "tool_complete", "tool_error", "tool_order")
"""What most vocabularies leave out."""


# -- what is sent ----------------------------------------------------------------------------------


class Sent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True):
    """Base of what a vocabulary sends, one class for each type of frame.

    The classes are the registry: the schemas, the reference and the tests' validators are made of a
    dialect's `frames` and `replies`. `Fold` fills in the fields that stand here.
    """

    run_id: str | UnsetType = UNSET
    seq: float | UnsetType = UNSET
    """Up to where everything was delivered: a WebSocket client resumes after it."""


class Frame(msgspec.Struct, frozen=True, kw_only=True):
    """One message to the client, with its number and what its transport needs to know."""

    data: msgspec.Struct | str
    """A frame, or text that goes over the wire as it stands."""
    seq: float = 0
    event: str | None = None
    """The SSE event name, in vocabularies that use one."""
    pause: int = 0
    """Milliseconds that the client wants between this frame and the last one with a pause."""


def encoded(data: msgspec.Struct | str) -> bytes:
    """Return what goes over the wire: JSON, or a text as it stands."""
    return data.encode() if isinstance(data, str) else msgspec.json.encode(data)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """A question to the human, with its details; the client's next message answers it."""

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None

    @classmethod
    def all(cls, event: ev.Interrupt) -> list[Self]:
        """Return what a run asks, the oldest question first."""
        return [
            cls(
                id=question.id,
                question=question.question,
                options=question.options,
                schema=question.schema,
            )
            for question in event.open
        ]


class Questions(Question, frozen=True, kw_only=True):
    """The oldest open question, which the client's next message answers.

    `questions` are all, if there are several.
    """

    questions: list[Question] | UnsetType = UNSET

    @classmethod
    def of(cls, event: ev.Interrupt) -> Questions:
        """Return what a run asks."""
        questions = Question.all(event)
        oldest = msgspec.structs.asdict(questions[0])
        return cls(**oldest, questions=questions if len(questions) > 1 else UNSET)


# -- the fold --------------------------------------------------------------------------------------


class Fold(ABC):
    """The state of one run's stream: maps each recorded event to its frames, often one, often none.

    A subclass writes `frames`; the numbers, the stamp and the shown text are kept here.
    """

    names_events: ClassVar[bool] = False
    """Whether an SSE stream has `event:` lines, with each frame's type."""

    def __init__(self) -> None:
        self.shown = ShownText()

    def feed(self, recorded: ev.Recorded) -> list[Frame]:
        """Return the frames of the next event."""
        if isinstance(recorded.event, ev.RunAttempt):
            self.shown.unsay(self.drop_held())
        news = self.shown.feed(recorded.event)
        frames = self.frames(recorded, news)
        stamp = self.stamp(recorded.at)
        last = len(frames) - 1
        return [
            self._frame(
                frame, recorded, number(recorded.seq, ALL_FRAMES if k == last else k), stamp
            )
            for k, frame in enumerate(frames)
        ]

    @abstractmethod
    def frames(self, recorded: ev.Recorded, news: list[News]) -> Sequence[Sent | str]:
        """Return the frames of an event; `news` is what the client lacks of the answer now."""

    def stamp(self, at: int) -> dict[str, Any]:
        """Return the fields that all frames of an event have, by its time in ms."""
        return {}

    def pause(self, frame: Sent) -> int:
        """Return the milliseconds to keep between a frame and the one before it."""
        return 0

    def drop_held(self) -> str:
        """Drop text that was held back, and return it: a new attempt begins."""
        return ""

    def _frame(
        self, frame: Sent | str, recorded: ev.Recorded, seq: float, stamp: dict[str, Any]
    ) -> Frame:
        if isinstance(frame, str):
            return Frame(data=frame, seq=seq)
        data = replace(frame, run_id=recorded.run_id or UNSET, seq=seq, **stamp)
        return Frame(
            data=data,
            seq=seq,
            event=tag(type(frame)) if self.names_events else None,
            pause=self.pause(frame),
        )


ALL_FRAMES = 1 << 30


def number(event: int, frame: int) -> float:
    """Return the number of a frame by which a WebSocket client resumes.

    The last frame of an event completes it and has its number; those before it have the number of
    the event before, and their own in hundredths: 6.01, 6.02, 7. From the 99th on they share one,
    which is for vocabularies without a WebSocket.
    """
    return event if frame == ALL_FRAMES else round(event - 1 + min(frame + 1, 99) / 100, 2)


def place(seq: float) -> tuple[int, int]:
    """Return the `(event, frame)` that a `number` stands for; `ALL_FRAMES` for a whole number."""
    whole, part = int(seq), round((seq - int(seq)) * 100)
    return (whole + 1, part - 1) if part else (whole, ALL_FRAMES)


def tag(frame: type[msgspec.Struct]) -> str | None:
    """Return a frame's `type`; None if it has none."""
    value = frame.__struct_config__.tag
    return None if value is None else str(value)


def attempt_message(event: ev.RunAttempt) -> str:
    """Return what people are to know of a new attempt: most of them begin something anew."""
    goes_on = event.reason in (RESUMED, NO_ANSWER)
    return "Going on…" if goes_on else "Regenerating the answer…"


def iso(at: int) -> str:
    """Return a time in milliseconds as ISO 8601 in UTC, with milliseconds and `Z`."""
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03}Z"


# -- doors -----------------------------------------------------------------------------------------


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A route of a vocabulary, which `api/routes/doors.py` makes. Parameters of its path mean:

    `{thread_id}` and `{session_id}` the conversation, by our name or by the client's own;
    `{agent_id}` the flow to execute; `{connection_id}` a WebSocket that may come back.
    """

    path: str
    about: str
    """Its description in the documents."""


class Stream(Endpoint, frozen=True, kw_only=True):
    """POST a message; the response is an SSE stream of the run's frames."""

    body: Any
    """A `ClientMessage` class, perhaps with `Annotated` documentation."""
    defaults: Mapping[str, str] = {}
    """Fields of the body that may stand in the query; by each, the setting that holds otherwise."""


class Wait(Stream, frozen=True, kw_only=True):
    """POST a message; the response is what `Dialect.answer` makes of the whole turn."""

    answer: type
    failure: type | None = None
    """An answer that reports an error, by status 502."""


class Talk(Endpoint, frozen=True, kw_only=True):
    """A WebSocket."""

    closes_when_idle: bool = False
    """Whether it is closed after `Settings.idle_seconds` in which nothing happens."""


class Turn(NamedTuple):
    """A turn that a `Wait` door has waited for."""

    frames: Mapping[type, Any]
    """The last frame of each class, in the order in which they came."""
    message: records.Message | None
    """What the run has stored last: its answer, or its question."""
    place: Mapping[str, str]
    """The parameters of the request's path."""

    @property
    def last(self) -> Any:
        """The last frame of all; None if there is none."""
        return list(self.frames.values())[-1] if self.frames else None


class TurnPaths(msgspec.Struct, frozen=True, kw_only=True):
    """How a client reads a turn by appending, by paths `<type>.<field>.…` in its frames."""

    piece: str
    """What it appends."""
    whole: str | None = None
    """The whole text of the turn; None if only the stored message has it."""
    question: str | None = None
    """The details of a question to the human; None if a question is a text alone."""
    asks_in_pieces: bool = True
    """Whether pieces hold the text of a question too, or only `whole` does."""
    aside: str | None = None
    """The field of a piece that is there if it is not the answer's."""


# -- the vocabulary --------------------------------------------------------------------------------


class Dialect(ABC):
    """One vocabulary. Those without a WebSocket override only what has no default here."""

    name: str
    fold: type[Fold]
    """Makes a fresh fold for each run."""
    frames: tuple[type[msgspec.Struct], ...]
    """All that the stream of a run may hold, a class for each type of frame."""
    order: str
    """The order of a turn's frames: a regular expression over types, each followed by a space."""
    silent: frozenset[str]
    """Types of events that give no frames, on purpose."""
    final: tuple[type[msgspec.Struct], ...] = ()
    """Frames with which a turn may end."""
    raw: tuple[str, ...] = ()
    """Texts that are sent as they stand, each at the end of a turn."""
    reading: TurnPaths | None = None
    """None if appending is not enough to read a turn."""

    doors: tuple[Endpoint, ...] = ()
    asks: tuple[type[Received], ...] = ()
    """All that it understands on a WebSocket; empty if it has none."""
    replies: tuple[type[msgspec.Struct], ...] = ()
    """All that it sends on a WebSocket beside the frames of runs."""
    serial: bool = True
    """Whether a WebSocket shows one run after the other; otherwise their frames are mixed."""
    one_turn: bool = False
    """Whether an SSE stream ends with its turn, even if the run has gone on since."""
    greets: bool = True
    """Whether a WebSocket client is welcomed that neither sent a token nor needed one."""

    bad_request: int = 400
    """The HTTP status by which its clients know a bad request."""
    response_headers: Mapping[str, str] = {}
    """Headers of its SSE responses, beside those of all."""
    request_headers: Mapping[str, str] = {}
    """Headers that its clients send and that have no effect, with their descriptions."""

    @property
    def sends(self) -> tuple[type[msgspec.Struct], ...]:
        """All that it sends on a WebSocket."""
        return (*self.frames, *self.replies)

    def ends_turn(self, data: msgspec.Struct | str) -> bool:
        """Return whether a frame may be the last one of its turn."""
        return data in self.raw if isinstance(data, str) else isinstance(data, self.final)

    @abstractmethod
    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return an error, as a WebSocket frame and as the body of an HTTP response."""

    def named(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Return a WebSocket frame under its declared `type`, if clients use another or none."""
        return frame

    def read(self, frame: dict[str, Any]) -> Command:
        """Return what a client's WebSocket frame asks for. Raises `Problem`."""
        command = read_frame(self.named(frame), self.asks).command()
        if isinstance(command, Ask):
            return replace(command, request=replace(command.request, dialect=self.name))
        return command

    def request(self, message: ClientMessage) -> Request:
        """Return the body of an HTTP request in the engine's terms. Raises `Problem`."""
        return replace(message.request(), dialect=self.name)

    def answer(self, turn: Turn) -> msgspec.Struct | None:
        """Return the response of a `Wait` door; None if the turn has not come to its end.

        Raises `Problem` if the run failed and the door has no `failure`.
        """
        return None

    def repeated(self) -> Dialect:
        """Return the vocabulary for a message that its `Idempotency-Key` had stored before."""
        return self

    def welcome(
        self, connection_id: str, principal: Principal, asked: bool, at: int
    ) -> msgspec.Struct | None:
        """Return the reply to a login; `asked` reports whether the client sent one as a message."""
        return None

    def pong(self, at: int) -> msgspec.Struct:
        """Return the reply to a ping."""
        raise NotImplementedError

    def refused(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return the reply to a login that failed."""
        return self.problem(problem, at)

    def reset(self, first: int, last: int, at: int) -> msgspec.Struct:
        """Return the reply to a cursor that cannot be served; events `first` to `last` can."""
        return self.problem(Problem("CURSOR_GONE", f"Events {first} to {last} can be resumed."), at)
