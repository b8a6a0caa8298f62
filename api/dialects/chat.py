"""The chat vocabulary (seed 003): login by message, four steps of progress, tokens, one `complete`.

Order for each message: the steps `starting`, `agent_routing`, `rag_retrieval`, `generating`, each once and none left
out, then tokens, then `complete` or `error`.
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
    Login,
    Ping,
    Resume,
    ShownText,
    iso,
    name_field,
    number_field,
    numbered,
    text_field,
)
from api.problems import Problem
from orchestrator.events import (
    AgentComplete,
    Interrupt,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
)

STEPS = {
    "starting": "Processing started…",
    "agent_routing": "Routing to the appropriate agent…",
    "rag_retrieval": "Searching knowledge base…",
    "generating": "Generating response…",
}
_ORDER = list(STEPS)
FLUSH_SHARE = 0.02
"""Tokens are joined until they are this share of the text, which every token frame repeats…"""
FLUSH_MS = 250
"""…or until they are this old, by the record's own times."""


class _ChatFold:
    def __init__(self) -> None:
        self._session_id: str | None = None
        self._steps = 0
        self._shown = ShownText()
        self._waiting = ""
        self._flushed_at = 0

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        return [Frame(data=frame) for frame in numbered(self._frames(recorded), recorded)]

    def _frames(self, recorded: Recorded) -> list[dict[str, Any]]:
        event = recorded.event
        if isinstance(event, RunAttempt):
            self._shown.unsay(self._waiting)
            self._waiting = ""
        self._waiting += self._shown.feed(event)
        match event:
            case RunStart():
                self._session_id = event.input.get("options", {}).get("session_id") or recorded.thread_id
            case Progress() if event.stage in STEPS:
                return self._until(event.stage)
            case Interrupt():
                question = event.question
                text = question if isinstance(question, str) else msgspec.json.encode(question).decode()
                details = {"id": event.id, "question": question, "options": event.options, "schema": event.schema}
                return [
                    *self._until("generating"),
                    *self._flush(recorded.at),
                    self._complete(text, {"interrupt": details}),
                ]
            case RunComplete():
                return [
                    *self._until("generating"),
                    *self._flush(recorded.at),
                    self._complete(event.text, _metadata(event)),
                ]
            case RunError():
                return [*self._flush(recorded.at), _error(event.message, "PROCESSING_ERROR", event.code)]
            case RunCancelled():
                return [*self._flush(recorded.at), _error("The message was cancelled.", "CANCELLED", None)]
            case AgentComplete():
                return self._flush(recorded.at)
        due = len(self._waiting) >= FLUSH_SHARE * len(self._shown.shown) or recorded.at - self._flushed_at >= FLUSH_MS
        return [*self._until("generating"), *self._flush(recorded.at)] if self._waiting and due else []

    def _until(self, step: str) -> list[dict[str, Any]]:
        """The steps up to this one that were not shown yet."""
        end = max(_ORDER.index(step) + 1, self._steps)
        due, self._steps = _ORDER[self._steps : end], end
        return [{"type": "progress", "step": step, "message": STEPS[step]} for step in due]

    def _flush(self, at: int) -> list[dict[str, Any]]:
        if not self._waiting:
            return []
        token, self._waiting, self._flushed_at = self._waiting, "", at
        return [{"type": "token", "token": token, "partial_response": self._shown.shown}]

    def _complete(self, response: str, metadata: dict[str, Any]) -> dict[str, Any]:
        return {"type": "complete", "response": response, "session_id": self._session_id, "metadata": metadata}


def _metadata(event: RunComplete) -> dict[str, Any]:
    return {
        "agent": event.primary_agent,
        "confidence": event.confidence if event.confidence is not None else 1.0,
        "context": {"sources": [hit.uri or hit.title for hit in event.sources]},
        "citations": [msgspec.to_builtins(hit) for hit in event.sources],
    }


def _error(message: str, code: str, reason: str | None) -> dict[str, Any]:
    return {"type": "error", "error": message, "code": code, **({"reason": reason} if reason else {})}


class Chat:
    """The vocabulary of `/ws/chat`."""

    name = "chat"
    serial = True

    def fold(self) -> _ChatFold:
        """A fresh fold."""
        return _ChatFold()

    def read(self, frame: dict[str, Any]) -> Command:
        """`auth`, `message`, and beyond the document `ping`, `cancel`, `resume`."""
        match frame.get("type"):
            case "auth":
                return Login(token=str(frame.get("token") or ""))
            case "message":
                return read_message(frame)
            case "ping":
                return Ping()
            case "cancel":
                return Cancel(run_id=name_field(frame, "run_id"))
            case "resume":
                return Resume(run_id=name_field(frame, "run_id"), after=number_field(frame, "last_seq", "after"))
        raise Problem("UNKNOWN_TYPE", "There is no such message type.")

    def welcome(self, connection_id: str, principal: Principal, asked: bool, at: int) -> dict[str, Any] | None:
        """`auth_success`."""
        user = {"id": principal.id, "email": principal.email, "name": principal.name}
        return {"type": "auth_success", "message": "Authentication successful", "user": user}

    def refused(self, problem: Problem, at: int) -> dict[str, Any]:
        """`auth_error`."""
        return {"type": "auth_error", "message": "Invalid token"}

    def pong(self, at: int) -> dict[str, Any]:
        """`pong`."""
        return {"type": "pong", "timestamp": iso(at)}

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`error`."""
        return _error(problem.message, problem.code, None)

    def reset(self, first: int, last: int, at: int) -> dict[str, Any]:
        """An `error` whose code says that the stream cannot go on from there."""
        return _error(f"Events {first} to {last} can be resumed.", "CURSOR_GONE", None)


def read_message(frame: dict[str, Any]) -> Ask:
    """A message of this vocabulary, over WebSocket or `POST /api/v1/chat`. Raises `Problem`."""
    session_id = name_field(frame, "session_id")
    name_field(frame, "customer_id")  # checked for shape, and otherwise none of our business: identity is the token's
    message = text_field(frame, "message")
    return Ask(
        message="" if message is None else message,
        thread_name=session_id,
        options={"session_id": session_id} if session_id else {},
    )
