"""The threads vocabulary (seed 001): conversations over REST, an answer as a stream of data-only events.

Order of a stream: `connected`, `message_saved`, then `workflow_status` and `ai_response` as they come,
one last `ai_response` without content whose `accumulated` is the whole text, `workflow_complete`,
`done`. An error is `error`, then `done`. Clients that append every `content` and clients that take
`accumulated` at the end see the same text.

A question to the human ends the stream as an answer would, but for `workflow_complete`; the client's
next message answers it, and has a stream of its own that opens like any other. Its text begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec.structs import replace

from antiphon.api.dialects.base import (
    GOING_ON,
    STOPPED,
    TOOL_EVENTS,
    Dialect,
    Fold,
    Question,
    Reading,
    Sent,
    Stream,
    Turn,
    Wait,
    iso,
)
from antiphon.api.dialects.shown import News
from antiphon.api.dialects.words import Message, Text
from antiphon.api.problems import Problem
from antiphon.data import records
from antiphon.orchestrator import events as ev
from antiphon.orchestrator.request import Request

Status = Literal["created", "running", "transition", "step_completed"]


# -- what the server sends -------------------------------------------------------------------------


class ThreadsData(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What stands in a frame or in a response; fields without a value are left out."""


class ThreadsOpenQuestion(ThreadsData, frozen=True, kw_only=True):
    """One of several questions to the human."""

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None


class ThreadsQuestion(ThreadsData, frozen=True, kw_only=True):
    """The oldest question to the human, which the client's next message answers.

    `questions` are all, if there are several.
    """

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None
    questions: list[ThreadsOpenQuestion] = []


class ThreadsMetadata(ThreadsData, frozen=True, kw_only=True):
    """Who wrote a message, whether it was stopped before its end, and what it asks or answers."""

    agent: str | None = None
    partial: bool = False
    interrupt: ThreadsQuestion | None = None
    answers: str | None = None


class ThreadsMessage(ThreadsData, frozen=True, kw_only=True):
    """A message of a conversation; `role` is `user` or `assistant`."""

    id: str
    thread_id: str
    role: str
    content: str
    created_at: str
    metadata: ThreadsMetadata | None = None


class ThreadsHere(ThreadsData, frozen=True):
    """Which conversation it is."""

    thread_id: str


class ThreadsSaved(ThreadsData, frozen=True, kw_only=True):
    """The stored message; `wasDuplicate` if its `Idempotency-Key` had stored it before."""

    message: ThreadsMessage
    was_duplicate: bool = False


class ThreadsStatus(ThreadsData, frozen=True, kw_only=True):
    """What is going on; `workflowId` and `step` if the conversation goes through steps."""

    status: Status
    step: str | None = None
    agent: str | None = None
    workflow_id: str | None = None
    message: str


class ThreadsText(ThreadsData, frozen=True, kw_only=True):
    """A piece of the answer; the last one is empty and has the whole in `accumulated`."""

    content: str
    is_complete: bool
    accumulated: str | None = None
    interrupt: ThreadsQuestion | None = None


class ThreadsEnd(ThreadsData, frozen=True, kw_only=True):
    """How a workflow ended."""

    message: str
    workflow_id: str | None = None


class ThreadsFailure(ThreadsData, frozen=True, kw_only=True):
    """Why there is no answer, as a sentence and as a code; `message` is the sentence again."""

    error: str
    code: str
    message: str
    thread_id: str


class ThreadsOutcome(ThreadsData, frozen=True, kw_only=True):
    """Whether it went well."""

    success: bool
    error: bool = False


class ThreadsFrame(Sent, frozen=True, kw_only=True):
    """What all frames of this vocabulary have."""

    timestamp: str = ""


class ThreadsConnected(ThreadsFrame, frozen=True, tag="connected"):
    """The stream begins."""

    data: ThreadsHere


class ThreadsMessageSaved(ThreadsFrame, frozen=True, tag="message_saved"):
    """The user's message is stored for good."""

    data: ThreadsSaved


class ThreadsWorkflowStatus(ThreadsFrame, frozen=True, tag="workflow_status"):
    """Something is going on."""

    data: ThreadsStatus


class ThreadsAiResponse(ThreadsFrame, frozen=True, tag="ai_response"):
    """A piece of the answer, or its end."""

    data: ThreadsText


class ThreadsWorkflowComplete(ThreadsFrame, frozen=True, tag="workflow_complete"):
    """The work is done; left out if the conversation's workflow goes on."""

    data: ThreadsEnd


class ThreadsError(ThreadsFrame, frozen=True, tag="error"):
    """There is no whole answer. What was shown is kept, as a partial message of the conversation."""

    data: ThreadsFailure


class ThreadsDone(ThreadsFrame, frozen=True, tag="done"):
    """The stream ends; always the last frame."""

    data: ThreadsOutcome


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
        """Return the end of the run's workflow, if it has come to it; a run without one is one itself."""
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
    """The same for a message that its `Idempotency-Key` had stored before, which the log does not know."""

    was_duplicate = True


def _status(event: ev.AnyEvent) -> ThreadsStatus | None:
    """Return what an event reports about the work, if anything."""
    match event:
        case ev.Progress() if (
            event.stage != "finishing"
        ):  # the frames that follow say so themselves
            return ThreadsStatus(status="running", message=event.message or event.stage)
        case ev.RunAttempt():
            message = "Going on…" if event.reason in GOING_ON else "Regenerating the answer…"
            return ThreadsStatus(status="running", message=message)
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


class NewMessage(Message, frozen=True, kw_only=True):
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
    reading = Reading(
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
            about="Send a message and wait: `{response, message}`, the answer as a text and as a message.",
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
        """Return the stored message, with its question if it asks. Raises `Problem` if there is none."""
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
