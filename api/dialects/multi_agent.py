"""The multi-agent vocabulary (seed 002): agents at work, their interactions, progress from 0 to 1, one `complete`.

Order: progress, then agents' frames in any order, progress 1.0, `complete`. An error is `error`, followed by a partial
`complete` where there is any text. Agents who do not answer themselves are marked `internal`.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import (
    GOING_ON,
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
    Questions,
    Received,
    Resume,
    Sent,
    ShownText,
    Text,
    built,
    iso,
    name_field,
    names_field,
    number_field,
    numbered,
    text_field,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    Hit,
    Interaction,
    Interrupt,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    Sources,
    Usage,
    WorkflowUpdate,
)
from antiphon.orchestrator.request import Request

INTERNAL_ROLES = ("classifier", "retriever", "supporting")


class TeamFrame(Sent, frozen=True, kw_only=True):
    """What all frames of this vocabulary have."""

    timestamp: str = ""


class TeamProgress(TeamFrame, frozen=True, kw_only=True, tag="progress"):
    """How far the run is: 0 to 1, never back."""

    progress: float
    message: str


class TeamAgentStart(TeamFrame, frozen=True, kw_only=True, tag="agent_start"):
    """An agent begins. `internal` agents do not answer themselves."""

    agent: str
    query: str
    message: str
    internal: bool | UnsetType = UNSET


class TeamAgentChunk(TeamFrame, frozen=True, kw_only=True, tag="agent_chunk"):
    """A piece of an agent's text; `content` is another name of `chunk`."""

    agent: str
    chunk: str
    content: str
    internal: bool | UnsetType = UNSET


class TeamAgentMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """How an agent's work went."""

    duration_ms: int
    finish_reason: str | None = None
    usage: Usage | UnsetType = UNSET


class TeamAgentComplete(TeamFrame, frozen=True, kw_only=True, tag="agent_complete"):
    """An agent is done."""

    agent: str
    response: str
    metadata: TeamAgentMetadata
    internal: bool | UnsetType = UNSET


class InteractionMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of interaction it is, and why."""

    kind: str
    reason: str | None = None


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """An interaction as `complete` repeats it."""

    from_agent: str
    to_agent: str
    query: str
    response: str
    metadata: InteractionMetadata
    timestamp: str


class TeamInteraction(TeamFrame, frozen=True, kw_only=True, tag="interaction"):
    """One agent turns to another, or to the user."""

    from_agent: str
    to_agent: str
    query: str
    response: str
    metadata: InteractionMetadata
    message: str


class TeamSource(msgspec.Struct, frozen=True, kw_only=True):
    """A passage that the answer rests on."""

    id: str
    title: str
    uri: str | None
    score: float
    snippet: str


class TeamMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What the answer rests on; `partial` where the run did not come to its end."""

    primary_agent: str | UnsetType | None = UNSET
    confidence: float | UnsetType | None = UNSET
    sources: list[TeamSource] | UnsetType = UNSET
    usage: Usage | UnsetType = UNSET
    partial: bool | UnsetType = UNSET
    interrupt: Questions | UnsetType = UNSET


class TeamComplete(TeamFrame, frozen=True, kw_only=True, tag="complete"):
    """The whole answer, once; always the last frame."""

    response: str
    interactions: list[Told]
    metadata: TeamMetadata


class TeamError(TeamFrame, frozen=True, kw_only=True, tag="error"):
    """Something went wrong; where `recoverable`, it may go on."""

    error: str
    code: str
    agent: str | None = None
    recoverable: bool = False


class TeamConnected(TeamFrame, frozen=True, kw_only=True, tag="connected"):
    """The login is valid."""

    connection_id: str


class TeamPong(TeamFrame, frozen=True, kw_only=True, tag="pong"):
    """The answer to a ping."""


class TeamAuth(Received, frozen=True, kw_only=True, tag="auth"):
    """Log in."""

    token: str


class TeamContextOptions(msgspec.Struct, frozen=True):
    """`session_id` names the conversation; `stream_supporting` shows the supporting agents' text as well."""

    session_id: Name | None = None
    stream_supporting: bool = False


class TeamQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A question for the team; `message` and `content` are other names of `query`."""

    query: Text | None = None
    message: Text | None = None
    content: Text | None = None
    coordination_mode: Mode | None = None
    primary_agent: Name | None = None
    supporting_agents: Names = []
    context: TeamContextOptions | None = None


class TeamRequest(Received, frozen=True, kw_only=True, tag="multi_agent_request"):
    """Ask the team."""

    request: TeamQuery


class TeamPing(Received, frozen=True, kw_only=True, tag="ping"):
    """A sign of life is wanted."""


class TeamCancel(Received, frozen=True, kw_only=True, tag="cancel"):
    """Stop the run under way."""


class TeamDisconnect(Received, frozen=True, kw_only=True, tag="disconnect"):
    """Goodbye."""


class TeamResume(Received, frozen=True, kw_only=True, tag="resume"):
    """Go on behind frame `last_seq` of a run."""

    run_id: str
    last_seq: float = 0


class _MultiAgentFold:
    def __init__(self) -> None:
        self._query = ""
        self._drafts_wanted = False
        self._progress = 0.0
        self._shown = ShownText()
        self._interactions: list[Told] = []
        self._hits: dict[str, Hit] = {}

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        at = iso(recorded.at)
        frames = numbered(self._frames(recorded), recorded)
        return [Frame(event=frame["type"], data=frame | {"timestamp": at}) for frame in frames]

    def _frames(self, recorded: Recorded) -> list[TeamFrame]:
        news = self._shown.feed(recorded.event)
        said = [TeamAgentChunk(agent=one.agent, chunk=one.text, content=one.text) for one in news]
        return [*said, *self._told(recorded)]

    def _told(self, recorded: Recorded) -> list[TeamFrame]:
        event = recorded.event
        match event:
            case RunStart():
                self._query = str(event.input.get("message", ""))
                self._drafts_wanted = bool(event.input.get("options", {}).get("stream_supporting"))
                return [_progress(0.0, "Accepted")]
            case Progress():
                self._progress = event.value
                return [_progress(event.value, event.message or event.stage)]
            case RunAttempt(reason=reason):
                message = "Going on…" if reason in GOING_ON else "Regenerating the answer…"
                return [_progress(self._progress, message)]
            case WorkflowUpdate():
                return [_progress(self._progress, event.message or f"{event.step}: {event.status}")]
            case AgentStart():
                message = f"{event.agent} is working…"
                internal = _internal(event.role)
                return [TeamAgentStart(agent=event.agent, query=self._query, message=message, internal=internal)]
            case AgentChunk(channel="draft") if self._drafts_wanted:
                return [TeamAgentChunk(agent=event.agent, chunk=event.text, content=event.text, internal=True)]
            case AgentComplete():
                return [_completion(event)]
            case AgentError(recoverable=True):
                return [_error(event.message, event.code, event.agent, True)]
            case Interaction():
                return [self._interaction(event, recorded.at)]
            case Sources():
                self._hits.update({hit.id: hit for hit in event.hits})
            case Interrupt():
                return self._question(event, recorded.at)
            case RunComplete():
                return [self._answer(event)]
            case RunError():
                return [_error(event.message, event.code, None, event.retryable), *self._partial(event.partial_text)]
            case RunCancelled():
                return [_error("The run was cancelled.", "CANCELLED", None, False), *self._partial(event.partial_text)]
        return []

    def _interaction(self, event: Interaction, at: int) -> TeamInteraction:
        told = Told(
            from_agent=event.source,
            to_agent=event.target,
            query=event.query,
            response=event.response or "",
            metadata=InteractionMetadata(kind=event.kind, reason=event.reason),
            timestamp=iso(at),
        )
        self._interactions.append(told)
        return TeamInteraction(
            **msgspec.structs.asdict(told), message=f"{event.source} → {event.target}: {event.query}"
        )

    def _question(self, event: Interrupt, at: int) -> list[TeamFrame]:
        """A question to the human ends the turn; the client's next message answers it."""
        asked = Interaction(source="team", target="user", kind="handoff", query=event.text, reason=event.reason)
        details = Questions.of(event)
        interaction = self._interaction(asked, at)
        return [interaction, self._complete(self._shown.asked(event.text), TeamMetadata(interrupt=details))]

    def _answer(self, event: RunComplete) -> TeamComplete:
        metadata = TeamMetadata(
            primary_agent=event.primary_agent,
            confidence=event.confidence,
            sources=[
                TeamSource(id=hit.id, title=hit.title, uri=hit.uri, score=hit.score, snippet=hit.snippet)
                for hit in event.sources
            ],
            usage=event.usage,
        )
        return self._complete(event.text or "There is no answer.", metadata)

    def _partial(self, text: str) -> list[TeamFrame]:
        metadata = TeamMetadata(primary_agent=None, confidence=None, sources=[], partial=True)
        return [self._complete(text, metadata)] if text else []

    def _complete(self, response: str, metadata: TeamMetadata) -> TeamComplete:
        return TeamComplete(response=response, interactions=list(self._interactions), metadata=metadata)


def _progress(value: float, message: str) -> TeamProgress:
    return TeamProgress(progress=value, message=message)


def _error(message: str, code: str, agent: str | None, recoverable: bool) -> TeamError:
    return TeamError(error=message, code=code, agent=agent, recoverable=recoverable)


def _completion(event: AgentComplete) -> TeamAgentComplete:
    metadata = TeamAgentMetadata(
        duration_ms=event.duration_ms,
        finish_reason=event.finish_reason,
        usage=UNSET if event.usage is None else event.usage,
    )
    return TeamAgentComplete(agent=event.agent, response=event.text, metadata=metadata, internal=_internal(event.role))


def _internal(role: str) -> bool | UnsetType:
    return True if role in INTERNAL_ROLES else UNSET


class MultiAgent(Dialect):
    """The vocabulary of `/api/streaming/multi-agent/stream` and `/api/streaming/ws/{connection_id}`."""

    name = "multi_agent"
    frames = (
        TeamProgress,
        TeamAgentStart,
        TeamAgentChunk,
        TeamAgentComplete,
        TeamInteraction,
        TeamComplete,
        TeamError,
        TeamConnected,
        TeamPong,
    )
    asks = (TeamAuth, TeamRequest, TeamPing, TeamCancel, TeamDisconnect, TeamResume)

    def fold(self) -> _MultiAgentFold:
        """A fresh fold."""
        return _MultiAgentFold()

    def read(self, frame: dict[str, Any]) -> Command:
        """`auth`, `multi_agent_request` (or `request`, `message`, a bare query), `ping`, `cancel`, `disconnect`."""
        match frame.get("type"):
            case "auth":
                return Login(token=str(frame.get("token") or ""))
            case "ping":
                return Ping()
            case "cancel":
                return Cancel()
            case "disconnect":
                return Leave()
            case "resume":
                return Resume(run_id=name_field(frame, "run_id"), after=number_field(frame, "last_seq", "after"))
            case "multi_agent_request" | "request" | "message" | None:
                request = frame.get("request")
                if request is not None and not isinstance(request, dict):
                    raise Problem("BAD_REQUEST", "request must be an object.")
                if frame.get("type") is None and request is None and text_field(frame, "query") is None:
                    raise Problem("UNKNOWN_TYPE", "A frame needs a type, or a query.")
                return Ask(request=read_request(frame if request is None else request))
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """`connected`."""
        return built(TeamConnected(connection_id=connection_id, timestamp=iso(at)))

    def pong(self, at: int) -> dict[str, Any]:
        """`pong`."""
        return built(TeamPong(timestamp=iso(at)))

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`error`."""
        return built(TeamError(error=problem.message, code=problem.code, timestamp=iso(at)))


def read_request(request: dict[str, Any]) -> Request:
    """A request body of this vocabulary. Raises `Problem`."""
    context = request.get("context")
    if context is not None and not isinstance(context, dict):
        raise Problem("BAD_REQUEST", "context must be an object.")
    context = context or {}
    stream_supporting = context.get("stream_supporting") is True
    message = text_field(request, "query", "message", "content")
    return Request(
        dialect=MultiAgent.name,
        message="" if message is None else message,
        thread_name=name_field(context, "session_id") or name_field(request, "session_id"),
        primary=name_field(request, "primary_agent"),
        supporting=names_field(request, "supporting_agents"),
        mode=name_field(request, "coordination_mode"),
        options={"stream_supporting": True} if stream_supporting else {},
    )
