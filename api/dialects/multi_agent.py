"""The multi-agent vocabulary (seed 002): agents at work, their interactions, progress from 0 to 1, one `complete`.

Order: progress, then agents' frames in any order, progress 1.0, `complete`. An error is `error`, followed by a partial
`complete` where there is any text. Agents who do not answer themselves are marked `internal`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from api.auth import Principal
from api.dialects.base import (
    Ask,
    Cancel,
    Command,
    Frame,
    Leave,
    Login,
    Ping,
    Resume,
    ShownText,
    iso,
    name_field,
    names_field,
    number_field,
    numbered,
    text_field,
)
from api.problems import Problem
from orchestrator.events import (
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
)

INTERNAL_ROLES = ("classifier", "retriever", "supporting")


class _MultiAgentFold:
    def __init__(self) -> None:
        self._query = ""
        self._drafts_wanted = False
        self._progress = 0.0
        self._shown = ShownText()
        self._interactions: list[dict[str, Any]] = []
        self._hits: dict[str, Hit] = {}

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        frames = numbered(self._frames(recorded), recorded)
        return [Frame(event=frame["type"], data=frame | {"timestamp": iso(recorded.at)}) for frame in frames]

    def _frames(self, recorded: Recorded) -> list[dict[str, Any]]:
        event = recorded.event
        news = self._shown.feed(event)
        match event:
            case RunStart():
                self._query = str(event.input.get("message", ""))
                self._drafts_wanted = bool(event.input.get("options", {}).get("stream_supporting"))
                return [_progress(0.0, "Accepted")]
            case Progress():
                self._progress = event.value
                return [_progress(event.value, event.message or event.stage)]
            case RunAttempt():
                return [_progress(self._progress, "Regenerating the answer…")]
            case AgentStart():
                message = f"{event.agent} is working…"
                return [_marked(event.role, type="agent_start", agent=event.agent, query=self._query, message=message)]
            case AgentChunk(channel="answer") if news:
                return [{"type": "agent_chunk", "agent": event.agent, "chunk": news, "content": news}]
            case AgentChunk(channel="draft") if self._drafts_wanted:
                return [_internal(type="agent_chunk", agent=event.agent, chunk=event.text, content=event.text)]
            case AgentComplete():
                return [_marked(event.role, **_completion(event))]
            case AgentError(recoverable=True):
                return [_error(event.message, event.code, event.agent, True)]
            case Interaction():
                return [self._interaction(event, recorded.at)]
            case Sources():
                self._hits.update({hit.id: hit for hit in event.hits})
            case Interrupt():
                return self._question(event, recorded.at)
            case RunComplete():
                return [self._complete(event)]
            case RunError():
                return [_error(event.message, event.code, None, event.retryable), *self._partial(event.partial_text)]
            case RunCancelled():
                return [_error("The run was cancelled.", "CANCELLED", None, False), *self._partial(event.partial_text)]
        return []

    def _interaction(self, event: Interaction, at: int) -> dict[str, Any]:
        told = {
            "from_agent": event.source,
            "to_agent": event.target,
            "query": event.query,
            "response": event.response or "",
            "metadata": {"kind": event.kind, "reason": event.reason},
        }
        self._interactions.append({**told, "timestamp": iso(at)})
        return {"type": "interaction", **told, "message": f"{event.source} → {event.target}: {event.query}"}

    def _question(self, event: Interrupt, at: int) -> list[dict[str, Any]]:
        """A question to the human ends the turn; the client's next message answers it."""
        question = event.question if isinstance(event.question, str) else msgspec.json.encode(event.question).decode()
        asked = Interaction(source="team", target="user", kind="handoff", query=question, reason=event.reason)
        details = {"id": event.id, "question": event.question, "options": event.options, "schema": event.schema}
        interaction = self._interaction(asked, at)
        complete = {
            "type": "complete",
            "response": question or "?",
            "interactions": list(self._interactions),
            "metadata": {"interrupt": details},
        }
        return [interaction, complete]

    def _complete(self, event: RunComplete) -> dict[str, Any]:
        return {
            "type": "complete",
            "response": event.text or "There is no answer.",
            "interactions": list(self._interactions),
            "metadata": {
                "primary_agent": event.primary_agent,
                "confidence": event.confidence,
                "sources": [
                    {"id": hit.id, "title": hit.title, "uri": hit.uri, "score": hit.score, "snippet": hit.snippet}
                    for hit in event.sources
                ],
                "usage": msgspec.to_builtins(event.usage),
            },
        }

    def _partial(self, text: str) -> list[dict[str, Any]]:
        if not text:
            return []
        metadata: dict[str, Any] = {"primary_agent": None, "confidence": None, "sources": [], "partial": True}
        return [{"type": "complete", "response": text, "interactions": list(self._interactions), "metadata": metadata}]


def _progress(value: float, message: str) -> dict[str, Any]:
    return {"type": "progress", "progress": value, "message": message}


def _error(message: str, code: str, agent: str | None, recoverable: bool) -> dict[str, Any]:
    return {"type": "error", "error": message, "code": code, "agent": agent, "recoverable": recoverable}


def _completion(event: AgentComplete) -> dict[str, Any]:
    metadata: dict[str, Any] = {"duration_ms": event.duration_ms, "finish_reason": event.finish_reason}
    if event.usage is not None:
        metadata["usage"] = msgspec.to_builtins(event.usage)
    return {"type": "agent_complete", "agent": event.agent, "response": event.text, "metadata": metadata}


def _marked(role: str, **frame: Any) -> dict[str, Any]:
    return _internal(**frame) if role in INTERNAL_ROLES else frame


def _internal(**frame: Any) -> dict[str, Any]:
    return {**frame, "internal": True}


class MultiAgent:
    """The vocabulary of `/api/streaming/multi-agent/stream` and `/api/streaming/ws/{connection_id}`."""

    name = "multi_agent"
    serial = True

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
                return read_request(frame if request is None else request)
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """`connected`."""
        return {"type": "connected", "connection_id": connection_id, "timestamp": iso(at)}

    def refused(self, problem: Problem, at: int) -> dict[str, Any]:
        """An `error`."""
        return self.problem(problem, at)

    def pong(self, at: int) -> dict[str, Any]:
        """`pong`."""
        return {"type": "pong", "timestamp": iso(at)}

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`error`."""
        return {**_error(problem.message, problem.code, None, False), "timestamp": iso(at)}

    def reset(self, first: int, last: int, at: int) -> dict[str, Any]:
        """An `error` whose code says that the stream cannot go on from there."""
        return self.problem(Problem("CURSOR_GONE", f"Events {first} to {last} can be resumed."), at)


def read_request(request: dict[str, Any]) -> Ask:
    """A request body of this vocabulary. Raises `Problem`."""
    context = request.get("context")
    if context is not None and not isinstance(context, dict):
        raise Problem("BAD_REQUEST", "context must be an object.")
    context = context or {}
    stream_supporting = context.get("stream_supporting") is True
    message = text_field(request, "query", "message", "content")
    return Ask(
        message="" if message is None else message,
        thread_name=name_field(context, "session_id") or name_field(request, "session_id"),
        primary=name_field(request, "primary_agent"),
        supporting=names_field(request, "supporting_agents"),
        mode=name_field(request, "coordination_mode"),
        options={"stream_supporting": True} if stream_supporting else {},
    )
