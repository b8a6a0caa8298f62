"""The threads vocabulary (seed 001): conversations over REST, an answer as a stream of data-only events.

Order of a stream: `connected`, `message_saved`, then `workflow_status` and `ai_response` as they come, one last
`ai_response` without content whose `accumulated` is the whole text, `workflow_complete`, `done`. An error is `error`,
then `done`. Clients that append every `content` and clients that take `accumulated` at the end see the same text.

A question to the human ends the stream as an answer would, but for `workflow_complete`; the client's next message
answers it, and has a stream of its own that opens like any other. Its text begins anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from antiphon.api.dialects.base import GOING_ON, STOPPED, Dialect, Frame, Question, Sent, ShownText, iso, numbered
from antiphon.api.problems import Problem
from antiphon.orchestrator.events import (
    AgentComplete,
    AgentError,
    AgentStart,
    Interaction,
    Interrupt,
    InterruptAnswered,
    MessageBody,
    MessageSaved,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    WorkflowUpdate,
)

Status = Literal["created", "running", "transition", "step_completed"]


class ThreadsData(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What stands in a frame or in a response; fields without a value are left out."""


class ThreadsOpenQuestion(ThreadsData, frozen=True, kw_only=True):
    """One of several questions to the human."""

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None


class ThreadsQuestion(ThreadsData, frozen=True, kw_only=True):
    """The oldest question to the human, which the client's next message answers; `questions` are all of several."""

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


class ThreadsHere(ThreadsData, frozen=True, kw_only=True):
    """Which conversation it is."""

    thread_id: str


class ThreadsSaved(ThreadsData, frozen=True, kw_only=True):
    """The stored message; `wasDuplicate` where its `Idempotency-Key` had stored it before."""

    message: ThreadsMessage
    was_duplicate: bool = False


class ThreadsStatus(ThreadsData, frozen=True, kw_only=True):
    """What is going on; `workflowId` and `step` where the conversation goes through steps."""

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


class ThreadsConnected(ThreadsFrame, frozen=True, kw_only=True, tag="connected"):
    """The stream begins."""

    data: ThreadsHere


class ThreadsMessageSaved(ThreadsFrame, frozen=True, kw_only=True, tag="message_saved"):
    """The user's message is stored for good."""

    data: ThreadsSaved


class ThreadsWorkflowStatus(ThreadsFrame, frozen=True, kw_only=True, tag="workflow_status"):
    """Something is going on."""

    data: ThreadsStatus


class ThreadsAiResponse(ThreadsFrame, frozen=True, kw_only=True, tag="ai_response"):
    """A piece of the answer, or its end."""

    data: ThreadsText


class ThreadsWorkflowComplete(ThreadsFrame, frozen=True, kw_only=True, tag="workflow_complete"):
    """The work is done; left out where the conversation's workflow goes on."""

    data: ThreadsEnd


class ThreadsError(ThreadsFrame, frozen=True, kw_only=True, tag="error"):
    """There is no whole answer. What was said is kept, as a partial message of the conversation."""

    data: ThreadsFailure


class ThreadsDone(ThreadsFrame, frozen=True, kw_only=True, tag="done"):
    """The stream ends; always the last frame."""

    data: ThreadsOutcome


class _ThreadsFold:
    def __init__(self, repeated: bool) -> None:
        self._repeated = repeated
        self._shown = ShownText()
        self._answers: str | None = None
        """The question that the turn's message answers; questions divide a run into turns, with a stream each."""
        self._workflow: WorkflowUpdate | None = None

    def feed(self, recorded: Recorded) -> list[Frame]:
        """The frames of an event."""
        at = iso(recorded.at)
        return [Frame(data=frame | {"timestamp": at}) for frame in numbered(self._frames(recorded), recorded)]

    def _frames(self, recorded: Recorded) -> Sequence[ThreadsFrame]:
        news = self._shown.feed_text(recorded.event)
        return [*_pieces(news), *self._told(recorded)]

    def _told(self, recorded: Recorded) -> Sequence[ThreadsFrame]:
        event = recorded.event
        match event:
            case RunStart():
                return [_connected(recorded)]
            case MessageSaved(message=message) if message.role == "user":
                return [self._saved(recorded, message)]
            case InterruptAnswered():
                self._answers = event.id
                return [_connected(recorded)]
            case Interrupt():
                return self._question(event)
            case RunComplete():
                return self._complete(event)
            case RunError():
                return _failed(recorded, event.code, event.message)
            case RunCancelled():
                return _failed(recorded, "CANCELLED", "The run was cancelled.")
            case WorkflowUpdate():
                self._workflow = event
        status = _status(event)
        return [ThreadsWorkflowStatus(data=status)] if status is not None else []

    def _saved(self, recorded: Recorded, body: MessageBody) -> ThreadsMessageSaved:
        message = ThreadsMessage(
            id=body.id,
            thread_id=recorded.thread_id,
            role=body.role,
            content=body.content,
            created_at=iso(recorded.at),
            metadata=ThreadsMetadata(answers=self._answers) if self._answers else None,
        )
        return ThreadsMessageSaved(data=ThreadsSaved(message=message, was_duplicate=self._repeated))

    def _question(self, event: Interrupt) -> list[ThreadsFrame]:
        """The question stands behind what was said before, in a paragraph of its own."""
        text = self._shown.asked(event.text)
        last = ThreadsText(content="", is_complete=True, accumulated=text, interrupt=_asked(event))
        return [*_pieces(self._shown.rest(text)), ThreadsAiResponse(data=last), _done(True)]

    def _complete(self, event: RunComplete) -> list[ThreadsFrame]:
        """What was not shown yet, and the end."""
        text = event.text
        rest = self._shown.rest(text)
        last = ThreadsText(content="", is_complete=True, accumulated=text)
        return [*_pieces(rest), ThreadsAiResponse(data=last), *self._workflow_complete(), _done(True)]

    def _workflow_complete(self) -> list[ThreadsFrame]:
        """The end of the run's workflow, if it has come to it; a run without one is a workflow by itself."""
        workflow = self._workflow
        if workflow is None:
            return [ThreadsWorkflowComplete(data=ThreadsEnd(message="The answer is complete."))]
        if workflow.status != "completed":
            return []
        message = workflow.message or "The workflow is complete."
        return [ThreadsWorkflowComplete(data=ThreadsEnd(message=message, workflow_id=workflow.workflow_id))]


def _status(event: object) -> ThreadsStatus | None:
    """What an event says about the work, where it says something."""
    match event:
        case Progress() if event.stage != "finishing":  # the frames that follow say so themselves
            return ThreadsStatus(status="running", message=event.message or event.stage)
        case RunAttempt():
            again = "Going on…" if event.reason in GOING_ON else "Regenerating the answer…"
            return ThreadsStatus(status="running", message=again)
        case AgentStart():
            return ThreadsStatus(status="running", agent=event.agent, message=f"{event.agent} is working…")
        case AgentComplete() if event.finish_reason not in STOPPED:
            return ThreadsStatus(status="step_completed", agent=event.agent, message=f"{event.agent} is done.")
        case AgentError():
            return ThreadsStatus(status="running", agent=event.agent, message=event.message)
        case Interaction():
            return ThreadsStatus(
                status="transition", agent=event.target, message=f"{event.source} → {event.target}: {event.kind}"
            )
        case WorkflowUpdate(status="created" | "running" | "transition" | "step_completed" as status):
            return ThreadsStatus(
                status=status,
                step=event.step,
                workflow_id=event.workflow_id,
                message=event.message or f"{event.step or 'workflow'}: {status}",
            )
    return None


def _asked(event: Interrupt) -> ThreadsQuestion:
    """What a run asks, in detail."""
    asked = [msgspec.structs.asdict(one) for one in Question.all(event)]
    questions = [ThreadsOpenQuestion(**one) for one in asked] if len(asked) > 1 else []
    return ThreadsQuestion(**asked[0], questions=questions)


def _connected(recorded: Recorded) -> ThreadsConnected:
    return ThreadsConnected(data=ThreadsHere(thread_id=recorded.thread_id))


def _piece(text: str) -> ThreadsAiResponse:
    return ThreadsAiResponse(data=ThreadsText(content=text, is_complete=False))


def _pieces(text: str) -> list[ThreadsFrame]:
    return [_piece(text)] if text else []


def _failed(recorded: Recorded, code: str, message: str) -> list[ThreadsFrame]:
    failure = ThreadsFailure(error=message, code=code, message=message, thread_id=recorded.thread_id)
    return [ThreadsError(data=failure), _done(False)]


def _done(success: bool) -> ThreadsDone:
    return ThreadsDone(data=ThreadsOutcome(success=success, error=not success))


class Threads(Dialect):
    """The vocabulary of `/chat/threads`. It has no WebSocket.

    `repeated` marks the message as one that its `Idempotency-Key` had stored before; the log does not know that.
    """

    name = "threads"
    frames = (
        ThreadsConnected,
        ThreadsMessageSaved,
        ThreadsWorkflowStatus,
        ThreadsAiResponse,
        ThreadsWorkflowComplete,
        ThreadsError,
        ThreadsDone,
    )

    def __init__(self, *, repeated: bool = False) -> None:
        self._repeated = repeated

    def fold(self) -> _ThreadsFold:
        """A fresh fold."""
        return _ThreadsFold(self._repeated)

    def problem(self, problem: Problem, at: int) -> dict[str, Any]:
        """`{error, code}`, the body of a response that is no stream."""
        return {"error": problem.message, "code": problem.code}
