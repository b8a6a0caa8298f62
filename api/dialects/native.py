"""Our own vocabulary: the recorded events themselves, with their place in the log."""

from __future__ import annotations

from inspect import cleandoc
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import (
    AnswerQuestion,
    Ask,
    Cancel,
    Command,
    Dialect,
    Frame,
    Leave,
    Login,
    Mode,
    Name,
    Names,
    Ping,
    Received,
    Resume,
    Sent,
    Text,
    built,
    name_field,
    names_field,
    number_field,
    object_field,
    text_field,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.bounds import STEPS_LIMIT, TAG_LIMIT, TAGS_LIMIT
from antiphon.orchestrator.events import EVENT_TYPES, Event, Recorded
from antiphon.orchestrator.request import Request

StepLimit = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": STEPS_LIMIT})]
Tags = Annotated[
    list[str],
    msgspec.Meta(extra_json_schema={"maxItems": TAGS_LIMIT, "items": {"type": "string", "maxLength": TAG_LIMIT}}),
]


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


class NativeAuth(Received, frozen=True, kw_only=True, tag="auth"):
    """Log in."""

    token: str


class NativeAgents(msgspec.Struct, frozen=True):
    """Who is to answer, and who is to help."""

    primary: Name | None = None
    supporting: Names = []


class RunConfig(msgspec.Struct, frozen=True, omit_defaults=True):
    """What reaches the graph as its LangGraph config."""

    configurable: dict[str, Any] | None = None
    recursion_limit: StepLimit | None = None
    tags: Tags | None = None
    metadata: dict[str, Any] | None = None


class NativeMessage(Received, frozen=True, kw_only=True, tag="message"):
    """A message."""

    message: Text
    thread_id: Name | None = None
    graph: Name | None = None
    agents: NativeAgents | None = None
    mode: Mode | None = None
    on_busy: Literal["enqueue", "reject", "interrupt", "rollback"] = "enqueue"
    inputs: dict[str, Any] | None = None
    context: dict[str, Any] | None = None
    config: RunConfig | None = None
    idempotency_key: str | None = None


class NativeResume(Received, frozen=True, kw_only=True, tag="resume"):
    """Go on behind event `after` of a run, or of a thread."""

    run_id: str | None = None
    thread_id: str | None = None
    after: float = 0


class NativeCancel(Received, frozen=True, kw_only=True, tag="cancel"):
    """Stop a run."""

    run_id: str


class NativeAnswer(Received, frozen=True, kw_only=True, tag="answer"):
    """Answer a question that a run waits with: the one with this `id`, or the oldest one."""

    run_id: str
    answer: Any
    id: str | None = None


class NativePing(Received, frozen=True, kw_only=True, tag="ping"):
    """A sign of life is wanted."""


class NativeDisconnect(Received, frozen=True, kw_only=True, tag="disconnect"):
    """Goodbye."""


_ENVELOPE: list[tuple[str, Any]] = [
    ("thread_id", str),
    ("seq", int),
    ("run_id", str | None),
    ("attempt", int),
    ("at", int),
]


def _flat(event: type[Event]) -> type[msgspec.Struct]:
    """An event as it is sent: its own fields behind those of its place in the log."""
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
        tag_field="type",
        tag=event.__struct_config__.tag,
        forbid_unknown_fields=True,
    )


class _NativeFold:
    def feed(self, recorded: Recorded) -> list[Frame]:
        """The event, flat, behind its envelope."""
        envelope = {
            "thread_id": recorded.thread_id,
            "seq": recorded.seq,
            "run_id": recorded.run_id,
            "attempt": recorded.attempt,
            "at": recorded.at,
        }
        return [Frame(event=recorded.event.type, data=envelope | msgspec.to_builtins(recorded.event))]


class Native(Dialect):
    """Everything that happens, as it is recorded."""

    name = "native"
    serial = False
    frames = (
        *map(_flat, EVENT_TYPES),
        NativeAuthSuccess,
        NativeAuthError,
        NativePong,
        NativeError,
        NativeReset,
    )
    asks = (NativeAuth, NativeMessage, NativeResume, NativeCancel, NativeAnswer, NativePing, NativeDisconnect)

    def fold(self) -> _NativeFold:
        """A fresh fold."""
        return _NativeFold()

    def read(self, frame: dict[str, Any]) -> Command:
        """`auth`, `message`, `resume`, `cancel`, `answer`, `ping`."""
        match frame.get("type"):
            case "auth":
                return Login(token=str(frame.get("token") or ""))
            case "message":
                return Ask(request=read_request(frame))
            case "resume":
                run_id, thread_id = name_field(frame, "run_id"), name_field(frame, "thread_id")
                if (run_id is None) == (thread_id is None):
                    raise Problem("BAD_REQUEST", "resume takes either run_id or thread_id.")
                return Resume(run_id=run_id, thread_id=thread_id, after=number_field(frame, "after"))
            case "cancel":
                return Cancel(run_id=name_field(frame, "run_id"))
            case "answer":
                run_id = name_field(frame, "run_id")
                if run_id is None or "answer" not in frame:
                    raise Problem("BAD_REQUEST", "answer takes run_id and answer.")
                return AnswerQuestion(run_id=run_id, answer=frame["answer"], id=name_field(frame, "id"))
            case "ping":
                return Ping()
            case "disconnect":
                return Leave()
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """`auth_success`."""
        return built(NativeAuthSuccess(user={"id": principal.id}, at=at)) if asked else None

    def refused(self, problem: Problem, at: int) -> dict[str, Any]:
        """`auth_error`."""
        return built(NativeAuthError(code=problem.code, message=problem.message, at=at))

    def pong(self, at: int) -> dict[str, Any]:
        """`pong`."""
        return built(NativePong(at=at))

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`error`."""
        errors = list(problem.details) or UNSET
        return built(NativeError(code=problem.code, message=problem.message, at=at, errors=errors))

    def reset(self, first: int, last: int, at: int) -> dict[str, Any]:
        """`stream_reset`."""
        return built(NativeReset(first=first, last=last, at=at))


def read_request(frame: dict[str, Any]) -> Request:
    """A message of the native wire, over HTTP or WebSocket. Raises `Problem`."""
    agents = frame.get("agents")
    if agents is not None and not isinstance(agents, dict):
        raise Problem("BAD_REQUEST", "agents must be an object with primary and supporting.")
    on_busy: Any = frame.get("on_busy") or "enqueue"
    if on_busy not in ("enqueue", "reject", "interrupt", "rollback"):
        raise Problem("BAD_REQUEST", "on_busy must be enqueue, reject, interrupt or rollback.")
    return Request(
        dialect=Native.name,
        message=text_field(frame, "message") if "message" in frame else "",
        thread_id=name_field(frame, "thread_id"),
        graph=name_field(frame, "graph"),
        primary=name_field(agents or {}, "primary"),
        supporting=names_field(agents or {}, "supporting"),
        mode=name_field(frame, "mode"),
        on_busy=on_busy,
        inputs=object_field(frame, "inputs"),
        context=object_field(frame, "context"),
        config=object_field(frame, "config") or None,
        idempotency_key=name_field(frame, "idempotency_key"),
    )
