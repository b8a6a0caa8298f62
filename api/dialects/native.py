"""Our own vocabulary: the recorded events themselves, with their place in the log."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import cleandoc
from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from antiphon.api.dialects.base import Dialect, Fold, Frame, Sent, Talk
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import (
    AnswerQuestion,
    Ask,
    ClientAuth,
    ClientCancel,
    ClientDisconnect,
    ClientMessage,
    ClientPing,
    Command,
    Id,
    Mode,
    Name,
    Names,
    Place,
    Received,
    Resume,
    Text,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.data.records import OnBusy
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.bounds import STEPS_LIMIT, TAG_LIMIT, TAGS_LIMIT
from antiphon.orchestrator.request import Request

StepLimit = Annotated[int, msgspec.Meta(ge=1, le=STEPS_LIMIT)]
Tag = Annotated[str, msgspec.Meta(max_length=TAG_LIMIT)]
Tags = Annotated[list[Tag], msgspec.Meta(max_length=TAGS_LIMIT)]


# -- what the server sends -------------------------------------------------------------------------


class NativeAuthSuccess(Sent, frozen=True, kw_only=True, tag="auth_success"):
    """The login is valid."""

    user: dict[str, str]
    at: int


class NativeAuthError(Sent, frozen=True, kw_only=True, tag="auth_error"):
    """The login is not valid."""

    code: str
    message: str
    at: int


class NativePong(Sent, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""

    at: int


class NativeError(Sent, frozen=True, kw_only=True, tag="error"):
    """Something went wrong with a frame or with the connection."""

    code: str
    message: str
    at: int
    errors: list[dict[str, Any]] | UnsetType = UNSET
    """Each error of a document that was sent, with its place."""


class NativeReset(Sent, frozen=True, kw_only=True, tag="stream_reset"):
    """A cursor cannot be served; events `first` to `last` can."""

    first: int
    last: int
    at: int


_ENVELOPE: list[tuple[str, Any]] = [
    ("thread_id", str),
    ("seq", int),
    ("run_id", str | None),
    ("attempt", int),
    ("at", int),
]


def _flat(event: type[ev.Event]) -> type[Any]:
    """Return the class of an event as it is sent: its place in the log, then its own fields."""
    hints = get_type_hints(event)
    fields: list[Any] = []
    for field in msgspec.structs.fields(event):
        kind = (field.name, hints[field.name])
        if field.required:
            fields.append(kind)
        elif field.default_factory is not msgspec.NODEFAULT:
            fields.append((*kind, msgspec.field(default_factory=field.default_factory)))
        else:
            fields.append((*kind, field.default))
    return msgspec.defstruct(
        f"Native{event.__name__}",
        [*_ENVELOPE, *fields],
        namespace={"__doc__": cleandoc(event.__doc__ or "")},
        kw_only=True,
        frozen=True,
        omit_defaults=event.__struct_config__.omit_defaults,
        tag_field="type",
        tag=event.__struct_config__.tag,
        forbid_unknown_fields=True,
    )


_ENDS = "run_complete |run_error |run_cancelled |interrupt "
_FLAT = {event: _flat(event) for event in ev.EVENT_TYPES}


class NativeFold(Fold):
    """The events themselves."""

    names_events = True

    def feed(self, recorded: ev.Recorded) -> list[Frame]:
        """Return the event, flat, after its place in the log."""
        event = recorded.event
        fields = {name: getattr(recorded, name) for name, _ in _ENVELOPE}
        fields |= {name: getattr(event, name) for name in event.__struct_fields__}
        flat = _FLAT[type(event)](**fields)
        return [Frame(data=flat, seq=recorded.seq, event=event.type)]

    def frames(self, recorded: ev.Recorded, news: list[News]) -> Sequence[Sent | str]:
        """Return nothing: `feed` needs neither numbers nor the shown text."""
        return []


# -- what clients send -----------------------------------------------------------------------------


class NativeAgents(msgspec.Struct, frozen=True):
    """Who is to answer, and who is to help."""

    primary: Name | None = None
    supporting: Names | None = None


class RunConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What reaches the graph as its LangGraph config."""

    configurable: dict[str, Any] | None = None
    recursion_limit: StepLimit | None = None
    tags: Tags | None = None
    metadata: dict[str, Any] | None = None


class RunRequest(ClientMessage, frozen=True, kw_only=True):
    """A message. `inputs` are values for the graph's other inputs, `context` for its schema."""

    text_field = "message"

    message: Text
    thread_id: Name | None = None
    graph: Name | None = None
    agents: NativeAgents | None = None
    mode: Mode | None = None
    on_busy: OnBusy | None = None
    inputs: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    config: RunConfig | None = None

    def request(self) -> Request:
        """Return the message in the engine's terms."""
        agents = self.agents or NativeAgents()
        return Request(
            message=self.message,
            thread_id=self.thread_id or None,
            graph=self.graph or None,
            primary=agents.primary or None,
            supporting=tuple(agents.supporting or ()),
            mode=self.mode or None,
            on_busy=self.on_busy or "enqueue",
            inputs=self.inputs or {},
            context=self.context or {},
            config=msgspec.to_builtins(self.config) or None,
        )


class NativeMessage(RunRequest, frozen=True, kw_only=True, tag="message"):
    """A message. Repeating it with the same `idempotency_key` is safe."""

    idempotency_key: Name | None = None

    def command(self) -> Command:
        """Return `Ask`."""
        return Ask(request=replace(self.request(), idempotency_key=self.idempotency_key or None))


class NativeResume(Received, frozen=True, kw_only=True, tag="resume"):
    """Go on after event `after` of a run, or of a thread: one of both is named."""

    run_id: Name | None = None
    thread_id: Name | None = None
    after: Place | None = None

    def command(self) -> Command:
        """Return `Resume`. Raises `Problem` BAD_REQUEST if not exactly one is named."""
        if bool(self.run_id) == bool(self.thread_id):
            raise Problem("BAD_REQUEST", "resume takes either run_id or thread_id.")
        run_id, thread_id = self.run_id or None, self.thread_id or None
        return Resume(run_id=run_id, thread_id=thread_id, after=self.after or 0)


class NativeAnswer(Received, frozen=True, kw_only=True, tag="answer"):
    """Answer a question that a run waits with: the one with this `id`, or the oldest one."""

    run_id: Id
    answer: Any
    id: Name | None = None

    def command(self) -> Command:
        """Return `AnswerQuestion`."""
        return AnswerQuestion(run_id=self.run_id, answer=self.answer, id=self.id or None)


# -- the vocabulary --------------------------------------------------------------------------------


class Native(Dialect):
    """Everything that happens, as it is recorded."""

    name = "native"
    serial = False
    fold = NativeFold
    frames = tuple(_FLAT.values())
    replies = (NativeAuthSuccess, NativeAuthError, NativePong, NativeError, NativeReset)
    asks = (
        ClientAuth,
        NativeMessage,
        NativeResume,
        ClientCancel,
        NativeAnswer,
        ClientPing,
        ClientDisconnect,
    )
    final = tuple(
        _FLAT[event] for event in (ev.RunComplete, ev.RunError, ev.RunCancelled, ev.Interrupt)
    )
    order = rf"(run_start message_saved )?((?!{_ENDS}|run_start )\w+ )*({_ENDS})"
    silent = frozenset()
    doors = (Talk(path="/api/v1/ws", about="The native wire over WebSocket."),)

    def welcome(
        self, connection_id: str, principal: Principal, asked: bool, at: int
    ) -> msgspec.Struct | None:
        """Return `auth_success`, if the client sent a login as a message."""
        return NativeAuthSuccess(user={"id": principal.id}, at=at) if asked else None

    def refused(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `auth_error`."""
        return NativeAuthError(code=problem.code, message=problem.message, at=at)

    def pong(self, at: int) -> msgspec.Struct:
        """Return `pong`."""
        return NativePong(at=at)

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `error`."""
        errors = list(problem.details) or UNSET
        return NativeError(code=problem.code, message=problem.message, at=at, errors=errors)

    def reset(self, first: int, last: int, at: int) -> msgspec.Struct:
        """Return `stream_reset`."""
        return NativeReset(first=first, last=last, at=at)
