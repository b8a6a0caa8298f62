"""A small vocabulary: pieces of the answer, then its end or an error, then `[DONE]`."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from antiphon.api.dialects.base import Dialect, Fold, Questions, Sent, Stream, Talk, TurnPaths
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import ClientCancel, ClientMessage, ClientResume, Name, Text
from antiphon.api.problems import Problem
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.request import Request

DONE = "[DONE]"


class ToyPiece(Sent, frozen=True, tag="piece"):
    """A piece of the answer."""

    text: str


class ToyEnd(Sent, frozen=True, tag="end"):
    """The whole answer, or a question to the human."""

    text: str
    question: Questions | UnsetType = UNSET


class ToyError(Sent, frozen=True, tag="error"):
    """There is no answer."""

    code: str
    message: str


class ToyFold(Fold):
    """Maps each recorded event to its frames; numbers and times are the base class's."""

    def frames(self, recorded: ev.Recorded, news: list[News]) -> list[Sent | str]:
        """Return the frames of an event."""
        match recorded.event:
            case ev.Interrupt() | ev.RunComplete() as event:
                whole = self.shown.final(event)
                rest = self.shown.rest(whole)
                question = Questions.of(event) if isinstance(event, ev.Interrupt) else UNSET
                return [*([ToyPiece(rest)] if rest else []), ToyEnd(whole, question), DONE]
            case ev.RunError() as event:
                return [ToyError(event.code, event.message), DONE]
            case ev.RunCancelled():
                return [ToyError("CANCELLED", "The run was cancelled."), DONE]
        return [ToyPiece(piece.text) for piece in news]


class ToyRequest(ClientMessage, frozen=True, kw_only=True):
    """A message. `session_id` is the client's own name for the conversation."""

    text_field = "message"

    message: Text
    session_id: Name | None = None

    def request(self) -> Request:
        """Return the message in the engine's terms."""
        return Request(message=self.message, thread_name=self.session_id or None)


class ToyMessage(ToyRequest, frozen=True, kw_only=True, tag="message"):
    """The same on a WebSocket, where a frame needs a type."""


class Toy(Dialect):
    """Over SSE and over WebSocket."""

    name = "toy"
    fold = ToyFold
    frames = (ToyPiece, ToyEnd, ToyError)
    raw = (DONE,)
    asks = (ToyMessage, ClientCancel, ClientResume)
    order = r"(piece )*(end |error )\[DONE\] "
    silent = frozenset(
        {
            *("run_start", "run_attempt", "message_saved", "interrupt_answered", "custom"),
            *("progress", "agent_start", "agent_complete", "agent_error", "interaction"),
            *("sources", "workflow_update", "tool_start", "tool_complete", "tool_error"),
            *("tool_order",),
        }
    )
    reading = TurnPaths(piece="piece.text", whole="end.text", question="end.question")
    doors = (
        Stream(path="/toy", about="Send a message and read the answer.", body=ToyRequest),
        Talk(path="/toy/ws", about="The same over WebSocket."),
    )

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `error`."""
        return ToyError(problem.code, problem.message)
