"""The threads vocabulary (seed 001): conversations over REST, an answer as data-only events.

Order of a stream: `connected`, `message_saved`, then `workflow_status` and `ai_response` as they
come, one last `ai_response` without content whose `accumulated` is the whole text,
`workflow_complete`, `done`. An error is `error`, then `done`. Clients that append every `content`
and clients that take `accumulated` at the end see the same text.

A question to the human ends the stream as an answer would, but for `workflow_complete`; the
client's next message answers it, and has a stream of its own that opens like any other. Its text
begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from antiphon.api.dialects.base import (
    STOPPED,
    TOOL_EVENTS,
    Dialect,
    Fold,
    Question,
    Stream,
    Turn,
    TurnPaths,
    Wait,
    attempt_message,
    iso,
)
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.thread_frames import (
    ThreadsAiResponse,
    ThreadsConnected,
    ThreadsDone,
    ThreadsEnd,
    ThreadsError,
    ThreadsFailure,
    ThreadsFrame,
    ThreadsHere,
    ThreadsMessage,
    ThreadsMessageSaved,
    ThreadsMetadata,
    ThreadsOpenQuestion,
    ThreadsOutcome,
    ThreadsQuestion,
    ThreadsSaved,
    ThreadsStatus,
    ThreadsText,
    ThreadsWorkflowComplete,
    ThreadsWorkflowStatus,
)
from antiphon.api.dialects.words import ClientMessage, Text
from antiphon.api.problems import Problem
from antiphon.data import records
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.request import Request


class ThreadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, as a text and as a message."""

    response: str
    message: ThreadsMessage


class ThreadsProblem(msgspec.Struct, frozen=True):
    """Why there is no answer."""

    error: str
    code: str


class ThreadsFold(Fold):
    """A stream for each turn; what is going on becomes `workflow_status`."""

    was_duplicate = False

    def __init__(self) -> None:
        super().__init__()
        self._answers: str | None = None
        """The question that the turn's message answers."""
        self._workflow: ev.WorkflowUpdate | None = None

    def stamp(self, at: int) -> dict[str, Any]:
        """Return the time of the event."""
        return {"timestamp": iso(at)}

    def frames(self, recorded: ev.Recorded, news: list[News]) -> list[ThreadsFrame]:
        """Return the frames of an event."""
        pieces = _pieces("".join(piece.text for piece in news))
        return [*pieces, *self._of_event(recorded)]

    def _of_event(self, recorded: ev.Recorded) -> Sequence[ThreadsFrame]:
        event = recorded.event
        match event:
            case ev.RunStart():
                return [ThreadsConnected(ThreadsHere(recorded.thread_id))]
            case ev.MessageSaved(message=message) if message.role == "user":
                return [self._saved(recorded, message)]
            case ev.InterruptAnswered():
                self._answers = event.id
                return [ThreadsConnected(ThreadsHere(recorded.thread_id))]
            case ev.Interrupt():
                return [*self._whole(event), _done(True)]
            case ev.RunComplete():
                return [*self._whole(event), *self._workflow_complete(), _done(True)]
            case ev.RunError():
                return _failed(recorded, event.code, event.message)
            case ev.RunCancelled():
                return _failed(recorded, "CANCELLED", "The run was cancelled.")
            case ev.WorkflowUpdate():
                self._workflow = event
        status = _status(event)
        return [ThreadsWorkflowStatus(status)] if status is not None else []

    def _saved(self, recorded: ev.Recorded, body: ev.MessageBody) -> ThreadsMessageSaved:
        message = ThreadsMessage(
            id=body.id,
            thread_id=recorded.thread_id,
            role=body.role,
            content=body.content,
            created_at=iso(recorded.at),
            metadata=ThreadsMetadata(answers=self._answers) if self._answers else None,
        )
        return ThreadsMessageSaved(ThreadsSaved(message=message, was_duplicate=self.was_duplicate))

    def _whole(self, event: ev.Interrupt | ev.RunComplete) -> list[ThreadsFrame]:
        """Return what was not shown yet, and the whole text of the turn."""
        text = self.shown.final(event)
        question = _question(event) if isinstance(event, ev.Interrupt) else None
        last = ThreadsText(content="", is_complete=True, accumulated=text, interrupt=question)
        return [*_pieces(self.shown.rest(text)), ThreadsAiResponse(last)]

    def _workflow_complete(self) -> list[ThreadsFrame]:
        """Return the end of the run's workflow, if it has come to it.

        A run without a workflow is one itself.
        """
        workflow = self._workflow
        if workflow is None:
            return [ThreadsWorkflowComplete(ThreadsEnd(message="The answer is complete."))]
        if workflow.status != "completed":
            return []
        message = workflow.message or "The workflow is complete."
        return [
            ThreadsWorkflowComplete(ThreadsEnd(message=message, workflow_id=workflow.workflow_id))
        ]


class RepeatedFold(ThreadsFold):
    """The same for a message that its `Idempotency-Key` had stored before.

    The log does not know that, so it cannot be an event.
    """

    was_duplicate = True


def _status(event: ev.AnyEvent) -> ThreadsStatus | None:
    """Return what an event reports about the work, if anything."""
    match event:
        case ev.Progress() if (
            event.stage != "finishing"
        ):  # the frames that follow say so themselves
            return ThreadsStatus(status="running", message=event.message or event.stage)
        case ev.RunAttempt():
            return ThreadsStatus(status="running", message=attempt_message(event))
        case ev.AgentStart(agent=agent):
            return ThreadsStatus(status="running", agent=agent, message=f"{agent} is working…")
        case ev.AgentComplete(agent=agent) if event.finish_reason not in STOPPED:
            return ThreadsStatus(status="step_completed", agent=agent, message=f"{agent} is done.")
        case ev.AgentError():
            return ThreadsStatus(status="running", agent=event.agent, message=event.message)
        case ev.Interaction():
            message = f"{event.source} → {event.target}: {event.kind}"
            return ThreadsStatus(status="transition", agent=event.target, message=message)
        case ev.WorkflowUpdate(
            status=("created" | "running" | "transition" | "step_completed") as status
        ):
            return ThreadsStatus(
                status=status,
                step=event.step,
                workflow_id=event.workflow_id,
                message=event.message or f"{event.step or 'workflow'}: {status}",
            )
    return None


def _question(event: ev.Interrupt) -> ThreadsQuestion:
    """Return what a run asks, in detail."""
    details = [msgspec.structs.asdict(question) for question in Question.all(event)]
    several = [ThreadsOpenQuestion(**fields) for fields in details] if len(details) > 1 else []
    return ThreadsQuestion(**details[0], questions=several)


def _pieces(text: str) -> list[ThreadsFrame]:
    return [ThreadsAiResponse(ThreadsText(content=text, is_complete=False))] if text else []


def _failed(recorded: ev.Recorded, code: str, message: str) -> list[ThreadsFrame]:
    failure = ThreadsFailure(
        error=message, code=code, message=message, thread_id=recorded.thread_id
    )
    return [ThreadsError(failure), _done(False)]


def _done(success: bool) -> ThreadsDone:
    return ThreadsDone(ThreadsOutcome(success=success, error=not success))


# -- what clients send -----------------------------------------------------------------------------


class NewMessage(ClientMessage, frozen=True, kw_only=True):
    """A message of the user."""

    text_field = "content"

    content: Text

    def request(self) -> Request:
        """Return the message in the engine's terms."""
        return Request(message=self.content)


# -- the vocabulary --------------------------------------------------------------------------------

HEADERS = {"X-Organization-Id": "Accepted; who may see what, the token alone says."}
MESSAGES = "/threads/{thread_id}/messages"


class Threads(Dialect):
    """The vocabulary of `/chat/threads`. It has no WebSocket."""

    name = "threads"
    fold = ThreadsFold
    frames = (
        ThreadsConnected,
        ThreadsMessageSaved,
        ThreadsWorkflowStatus,
        ThreadsAiResponse,
        ThreadsWorkflowComplete,
        ThreadsError,
        ThreadsDone,
    )
    final = (ThreadsDone,)
    order = (
        r"connected message_saved ((workflow_status|ai_response) )*"
        r"(ai_response (workflow_complete )?|error )done |error done "
    )
    silent = frozenset({"sources", "custom", *TOOL_EVENTS})
    reading = TurnPaths(
        piece="ai_response.data.content",
        whole="ai_response.data.accumulated",
        question="ai_response.data.interrupt",
    )
    request_headers = HEADERS
    doors = (
        *(
            Stream(
                path=f"{root}{MESSAGES}/stream",
                about="Send a message; the response is an SSE stream that ends with `done`.",
                body=NewMessage,
            )
            for root in ("/chat", "")
        ),
        Wait(
            path=f"/chat{MESSAGES}",
            about="Send a message and wait: `{response, message}`, the answer as a text and as a"
            " message.",
            body=NewMessage,
            answer=ThreadAnswer,
        ),
    )

    def repeated(self) -> Dialect:
        """Return the vocabulary whose fold reports `wasDuplicate`."""
        return _Repeated()

    def problem(self, problem: Problem, at: int) -> msgspec.Struct:
        """Return `{error, code}`, the body of a response that is no stream."""
        return ThreadsProblem(problem.message, problem.code)

    def answer(self, turn: Turn) -> msgspec.Struct | None:
        """Return the stored message, with its question, if any. Raises `Problem` if it failed."""
        if not isinstance(turn.last, ThreadsDone):
            return None
        if not turn.last.data.success:
            failure = turn.frames[ThreadsError].data
            raise Problem(failure.code, failure.error)
        if turn.message is None:
            return None
        last, message = turn.frames[ThreadsAiResponse].data, stored_message(turn.message)
        if last.interrupt is not None:
            message = replace(message, metadata=ThreadsMetadata(interrupt=last.interrupt))
        return ThreadAnswer(response=last.accumulated, message=message)


class _Repeated(Threads):
    fold = RepeatedFold


def stored_message(message: records.Message) -> ThreadsMessage:
    """Return a stored message as clients of this vocabulary read it."""
    metadata = ThreadsMetadata(agent=message.author, partial=message.partial)
    return ThreadsMessage(
        id=message.id,
        thread_id=message.thread_id,
        role=message.role,
        content=message.content,
        created_at=iso(message.created_at),
        metadata=metadata if message.role == "assistant" else None,
    )
