"""The multi-agent vocabulary (seed 002): agents at work, progress from 0 to 1, one `complete`.

Order: progress, then agents' frames in any order, progress 1.0, `complete`. An error is `error`,
followed by a partial `complete` if there is any text. Agents who do not answer themselves are
marked `internal`.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects import base
from antiphon.api.dialects.base import TOOL_EVENTS, Dialect, Fold, Questions, iso
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.team_frames import (
    InteractionMetadata,
    PastInteraction,
    TeamAgentChunk,
    TeamAgentComplete,
    TeamAgentMetadata,
    TeamAgentStart,
    TeamComplete,
    TeamConnected,
    TeamError,
    TeamFrame,
    TeamInteraction,
    TeamMetadata,
    TeamPong,
    TeamProgress,
    TeamSource,
)
from antiphon.api.dialects.words import (
    ClientAuth,
    ClientCancel,
    ClientDisconnect,
    ClientMessage,
    ClientPing,
    ClientResume,
    Mode,
    Name,
    Names,
    Text,
    first,
    needs,
)
from antiphon.api.principal import Principal
from antiphon.api.problems import Problem
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.request import Request

INTERNAL_ROLES = ("classifier", "retriever", "supporting")


class MultiAgentFold(Fold):
    """Agents' starts, chunks and completions, and all interactions once more at the end."""

    names_events = True

    def __init__(self) -> None:
        super().__init__()
        self._query = ""
        self._drafts_wanted = False
        self._progress = 0.0
        self._interactions: list[PastInteraction] = []

    def stamp(self, at: int) -> dict[str, Any]:
        """Return the time of the event."""
        return {"timestamp": iso(at)}

    def frames(self, recorded: ev.Recorded, news: list[News]) -> list[TeamFrame]:
        """Return the frames of an event."""
        chunks = [TeamAgentChunk(piece.agent, piece.text, piece.text) for piece in news]
        return [*chunks, *self._of_event(recorded.event, recorded.at)]

    def _of_event(self, event: ev.AnyEvent, at: int) -> list[TeamFrame]:
        match event:
            case ev.RunStart():
                options = event.input.get("options", {})
                self._query = str(event.input.get("message", ""))
                self._drafts_wanted = bool(options.get("stream_supporting"))
                return [TeamProgress(0.0, "Accepted")]
            case ev.Progress():
                self._progress = event.value
                return [TeamProgress(event.value, event.message or event.stage)]
            case ev.RunAttempt():
                return [TeamProgress(self._progress, base.attempt_message(event))]
            case ev.WorkflowUpdate():
                message = event.message or f"{event.step}: {event.status}"
                return [TeamProgress(self._progress, message)]
            case ev.AgentStart(agent=agent):
                message = f"{agent} is working…"
                return [TeamAgentStart(agent, self._query, message, _internal(event.role))]
            case ev.AgentChunk(channel="draft") if self._drafts_wanted:
                return [TeamAgentChunk(event.agent, event.text, event.text, True)]
            case ev.AgentComplete():
                return [_completion(event)]
            case ev.AgentError(recoverable=True):
                return [TeamError(event.message, event.code, event.agent, True)]
            case ev.Interaction():
                return [self._interaction(event, at)]
        return self._end(event, at)

    def _end(self, event: ev.AnyEvent, at: int) -> list[TeamFrame]:
        match event:
            case ev.Interrupt():
                asked = ev.Interaction(
                    source="team",
                    target="user",
                    kind="handoff",
                    query=event.text,
                    reason=event.reason,
                )
                interaction = self._interaction(asked, at)
                metadata = TeamMetadata(interrupt=Questions.of(event))
                return [interaction, self._complete(self.shown.final(event), metadata)]
            case ev.RunComplete():
                return [self._complete(event.text or "There is no answer.", _metadata(event))]
            case ev.RunError():
                error = TeamError(event.message, event.code, None, event.retryable)
                return [error, *self._partial(event.partial_text)]
            case ev.RunCancelled():
                error = TeamError("The run was cancelled.", "CANCELLED")
                return [error, *self._partial(event.partial_text)]
        return []

    def _interaction(self, event: ev.Interaction, at: int) -> TeamInteraction:
        past = PastInteraction(
            from_agent=event.source,
            to_agent=event.target,
            query=event.query,
            response=event.response or "",
            metadata=InteractionMetadata(kind=event.kind, reason=event.reason),
            timestamp=iso(at),
        )
        self._interactions.append(past)
        return TeamInteraction(
            past.from_agent,
            past.to_agent,
            past.query,
            past.response,
            past.metadata,
            f"{event.source} → {event.target}: {event.query}",
        )

    def _partial(self, text: str) -> list[TeamFrame]:
        metadata = TeamMetadata(primary_agent=None, confidence=None, sources=[], partial=True)
        return [self._complete(text, metadata)] if text else []

    def _complete(self, response: str, metadata: TeamMetadata) -> TeamComplete:
        return TeamComplete(response, list(self._interactions), metadata)


def _metadata(event: ev.RunComplete) -> TeamMetadata:
    sources = [
        TeamSource(id=hit.id, title=hit.title, uri=hit.uri, score=hit.score, snippet=hit.snippet)
        for hit in event.sources
    ]
    return TeamMetadata(
        primary_agent=event.primary_agent,
        confidence=event.confidence,
        sources=sources,
        usage=event.usage,
    )


def _completion(event: ev.AgentComplete) -> TeamAgentComplete:
    metadata = TeamAgentMetadata(
        duration_ms=event.duration_ms,
        finish_reason=event.finish_reason,
        usage=UNSET if event.usage is None else event.usage,
    )
    return TeamAgentComplete(event.agent, event.text, metadata, _internal(event.role))


def _internal(role: str) -> bool | UnsetType:
    return True if role in INTERNAL_ROLES else UNSET


# -- what clients send -----------------------------------------------------------------------------


class TeamContextOptions(msgspec.Struct, frozen=True):
    """`session_id` names the conversation; `stream_supporting` shows supporting agents' text."""

    session_id: Name | None = None
    stream_supporting: bool | None = None


class MultiAgentRequest(ClientMessage, frozen=True, kw_only=True):
    """A question for the team; `message` and `content` are other names of `query`.

    `session_id` may stand here or in `context`. `product_id` and `user_id` have no effect: who
    asks, the token alone says.
    """

    query: Text | None = None
    message: Text | None = None
    content: Text | None = None
    coordination_mode: Mode | None = None
    primary_agent: Name | None = None
    supporting_agents: Names | None = None
    context: TeamContextOptions | None = None
    session_id: Name | None = None
    product_id: str | int | None = None
    user_id: str | int | None = None

    def request(self) -> Request:
        """Return the question in the engine's terms."""
        context = self.context or TeamContextOptions()
        return Request(
            message=first(self.query, self.message, self.content, ""),
            thread_name=context.session_id or self.session_id or None,
            primary=self.primary_agent or None,
            supporting=tuple(self.supporting_agents or ()),
            mode=self.coordination_mode or None,
            options={"stream_supporting": True} if context.stream_supporting else {},
        )


Query = Annotated[MultiAgentRequest, needs("query", "message", "content")]


class TeamRequest(ClientMessage, frozen=True, kw_only=True, tag="multi_agent_request"):
    """Ask the team. The `type` may be `request` or `message` as well, or be left out."""

    ask: Query = msgspec.field(name="request")

    def request(self) -> Request:
        """Return the question in the engine's terms."""
        return self.ask.request()


class TeamMessage(MultiAgentRequest, frozen=True, kw_only=True, tag="message"):
    """Ask the team by fields of the frame itself; the `type` may be left out."""


# -- the vocabulary --------------------------------------------------------------------------------


class MultiAgent(Dialect):
    """The vocabulary of `/api/streaming/multi-agent/stream`, and of its WebSocket."""

    name = "multi_agent"
    fold = MultiAgentFold
    frames = (
        TeamProgress,
        TeamAgentStart,
        TeamAgentChunk,
        TeamAgentComplete,
        TeamInteraction,
        TeamComplete,
        TeamError,
    )
    replies = (TeamConnected, TeamPong)
    asks = (
        ClientAuth,
        TeamRequest,
        TeamMessage,
        ClientPing,
        ClientCancel,
        ClientDisconnect,
        ClientResume,
    )
    final = (TeamComplete, TeamError)
    order = (
        r"((progress|agent_start|agent_chunk|agent_complete|interaction|error) )*"
        r"(complete |error )"
    )
    silent = frozenset(
        {
            *("message_saved", "interrupt_answered", "custom"),
            "sources",  # they come with `complete`
            *TOOL_EVENTS,
        }
    )
    reading = base.TurnPaths(
        piece="agent_chunk.chunk",
        whole="complete.response",
        question="complete.metadata.interrupt",
        asks_in_pieces=False,
        aside="internal",
    )
    doors = (
        base.Stream(
            path="/api/streaming/multi-agent/stream",
            about="Ask the team; the response is an SSE stream of agents' events that ends with"
            " `complete`.",
            body=Query,
        ),
        base.Wait(
            path="/api/multi-agent/process",
            about="Ask the team and wait: the response is the frame that would end the stream.",
            body=Query,
            answer=TeamComplete,
            failure=TeamError,
        ),
        base.Talk(
            path="/api/streaming/ws/{connection_id}",
            about="The same over WebSocket. A client that comes back with its connection id gets"
            " what it has missed.",
        ),
    )

    def named(self, frame: dict[str, Any]) -> dict[str, Any]:
        """Return a question under any of its names as `multi_agent_request` or `message`."""
        if frame.get("type") not in ("multi_agent_request", "request", "message", None):
            return frame
        if frame.get("request") is not None:
            return {"type": "multi_agent_request", "request": frame["request"]}
        if frame.get("type") is None and frame.get("query") is None:
            raise Problem("UNKNOWN_TYPE", "A frame needs a type, or a query.")
        return {**frame, "type": "message"}

    def answer(self, turn: base.Turn) -> msgspec.Struct | None:
        """Return the frame that would end the stream."""
        return turn.last if isinstance(turn.last, self.final) else None

    def welcome(
        self, connection_id: str, principal: Principal, asked: bool, at: int
    ) -> msgspec.Struct | None:
        """Return `connected`."""
        return TeamConnected(connection_id, timestamp=iso(at))

    def pong(self, at: int) -> msgspec.Struct:
        """Return `pong`."""
        return TeamPong(timestamp=iso(at))

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `error`."""
        return TeamError(problem.message, problem.code, timestamp=iso(at))
