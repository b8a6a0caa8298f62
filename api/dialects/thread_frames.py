"""The frames of the threads vocabulary: every one is `{type, data, timestamp}`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from antiphon.api.dialects.base import Sent

Status = Literal["created", "running", "transition", "step_completed"]


class ThreadsData(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """What stands in a frame or in a response; fields without a value are left out."""


class ThreadsOpenQuestion(ThreadsData, frozen=True, kw_only=True):
    """One of several questions to the human."""

    id: str
    question: Any
    options: list[Any] | None = None
    schema: dict[str, Any] | None = None


class ThreadsQuestion(ThreadsOpenQuestion, frozen=True, kw_only=True):
    """The oldest question to the human, which the client's next message answers.

    `questions` are all, if there are several.
    """

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
    """There is no whole answer. What was shown is kept, as a partial stored message."""

    data: ThreadsFailure


class ThreadsDone(ThreadsFrame, frozen=True, tag="done"):
    """The stream ends; always the last frame."""

    data: ThreadsOutcome
