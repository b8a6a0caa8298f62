"""What can go wrong, as stable codes. Messages here are written for users: nothing internal is ever put into them."""

from __future__ import annotations

from typing import NamedTuple


class AntiphonError(Exception):
    """Base of the errors that callers may show. `code` is stable; `message` is clean."""

    code = "INTERNAL"
    message = "Something went wrong on our side."

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message


class BadRequest(AntiphonError):
    """The request itself is wrong."""

    code = "BAD_REQUEST"
    message = "The request is not valid."


class EmptyMessage(BadRequest):
    """There is no text to answer."""

    code = "EMPTY_MESSAGE"
    message = "The message is empty."


class TooLarge(BadRequest):
    """The message is longer than the limit."""

    code = "TOO_LARGE"
    message = "The message is too large."


class UnknownAgent(BadRequest):
    """An agent was asked for that the team does not have."""

    code = "UNKNOWN_AGENT"
    message = "There is no such agent."


class UnknownGraph(BadRequest):
    """A graph was asked for that is not served."""

    code = "UNKNOWN_GRAPH"
    message = "There is no such graph."


class BadInput(BadRequest):
    """The message, with the request's `inputs`, does not fill what the graph takes."""

    code = "BAD_INPUT"
    message = "The graph cannot take this message."


class BadContext(BadRequest):
    """The request's `context` does not fit the graph's schema."""

    code = "BAD_CONTEXT"
    message = "The `context` is not valid."


class ThingNotFound(AntiphonError):
    """Missing, or somebody else's: the caller cannot tell which."""

    code = "NOT_FOUND"
    message = "There is no such thing here."


class ThreadBusy(AntiphonError):
    """The thread has a run under way."""

    code = "BUSY"
    message = "The conversation is still answering the previous message."


class KeyConflict(AntiphonError):
    """An idempotency key was used for another request."""

    code = "IDEMPOTENCY_CONFLICT"
    message = "This Idempotency-Key was used for a different request."


class NotInterrupted(AntiphonError):
    """The run is not waiting for an answer."""

    code = "NOT_INTERRUPTED"
    message = "The run is not waiting for an answer."


class UnknownQuestion(AntiphonError):
    """The run does not wait for an answer to this question, but for one to another."""

    code = "UNKNOWN_QUESTION"
    message = "The run is not waiting for an answer to this question."


class AnswerUnclear(AntiphonError):
    """The words do not say what is to be done. The question stays open."""

    code = "ANSWER_UNCLEAR"
    message = "It is not clear what the answer means."


class AnswerInvalid(AntiphonError):
    """The answer does not fit what was asked for. The question stays open."""

    code = "ANSWER_INVALID"
    message = "The answer does not fit the question."


class AnswerLost(AntiphonError):
    """A step was executed again, and did not call the tool whose question had been answered."""

    code = "ANSWER_LOST"
    message = "The answer could not be given to the tool that asked for it."


class Unavailable(AntiphonError):
    """The store cannot take anything right now."""

    code = "UNAVAILABLE"
    message = "The service cannot store anything right now. Please try again."


class ModelCut(AntiphonError):
    """The model's answer ended before its end."""

    code = "MODEL_CUT"
    message = "The model stopped in the middle of its answer."


class NoAnswer(AntiphonError):
    """The graph ended without a text and without an output."""

    code = "NO_ANSWER"
    message = "The graph ended without an answer."


class CrashLoop(AntiphonError):
    """The run took its process down again and again."""

    code = "CRASH_LOOP"
    message = "The run failed repeatedly and was given up."


class Crashed(AntiphonError):
    """The run's process died, and its graph is one that is not to be continued."""

    code = "CRASHED"
    message = "The run was interrupted by a crash."


class StateNotStorable(AntiphonError):
    """A graph's state holds a value that cannot be stored; the message names its key and type."""

    code = "STATE_NOT_STORABLE"
    message = "The graph's state cannot be stored."


class StateTooLarge(AntiphonError):
    """A graph's state is larger than what is stored of one."""

    code = "STATE_TOO_LARGE"
    message = "The graph's state is too large."


class SyncInAsync(AntiphonError):
    """A coroutine of a graph called another graph without awaiting it, on the thread of the event loop."""

    code = "SYNC_IN_ASYNC"
    message = "A coroutine calls a graph with `invoke` or `stream`; it must await `ainvoke` or use `astream`."


class StoreRefused(AntiphonError, ValueError):
    """A graph asked its store for something that it cannot do."""

    code = "STORE_REFUSED"
    message = "The graph's store cannot do this."


class Failure(NamedTuple):
    """How a failure is told: a stable code, a clean sentence, and whether trying again may help."""

    code: str
    message: str
    retryable: bool


_BY_NAME = {
    "RateLimitError": Failure("MODEL_RATE_LIMITED", "The model is receiving too many requests.", True),
    "APITimeoutError": Failure("MODEL_TIMEOUT", "The model did not answer in time.", True),
    "StreamChunkTimeoutError": Failure("MODEL_TIMEOUT", "The model did not answer in time.", True),
    "ReadTimeout": Failure("MODEL_TIMEOUT", "The model did not answer in time.", True),
    "APIConnectionError": Failure("MODEL_UNAVAILABLE", "The connection to the model failed.", True),
    "ReadError": Failure("MODEL_UNAVAILABLE", "The connection to the model failed.", True),
    "RemoteProtocolError": Failure("MODEL_UNAVAILABLE", "The connection to the model failed.", True),
    "InternalServerError": Failure("MODEL_UNAVAILABLE", "The model reported an error.", True),
    "APIError": Failure("MODEL_UNAVAILABLE", "The model reported an error.", True),
    "JSONDecodeError": Failure("MODEL_GARBAGE", "The model sent something that is not an answer.", True),
    "ModelGarbage": Failure("MODEL_GARBAGE", "The model sent something that is not an answer.", True),
    "ModelCut": Failure(ModelCut.code, ModelCut.message, True),
    "AuthenticationError": Failure("MODEL_AUTH", "The model refused the server's credentials.", False),
    "PermissionDeniedError": Failure("MODEL_AUTH", "The model refused the server's credentials.", False),
    "NotFoundError": Failure("MODEL_NOT_FOUND", "The configured model does not exist.", False),
    "BadRequestError": Failure("MODEL_REFUSED", "The model refused the request.", False),
    "GraphRecursionError": Failure("RECURSION_LIMIT", "The graph took more steps than it may.", False),
    "NodeTimeoutError": Failure("AGENT_TIMEOUT", "An agent took longer than it may.", True),
}
"""By class name along the exception's ancestry, so that no model library is imported just to tell errors apart."""

_UNKNOWN = Failure("AGENT_FAILED", "An agent failed.", False)


def describe(error: BaseException) -> Failure:
    """How to tell an exception to a user. Never contains the exception's own text."""
    for cls in type(error).__mro__:
        if found := _BY_NAME.get(cls.__name__):
            return found
    if isinstance(error, AntiphonError):
        return Failure(error.code, error.message, False)
    return _UNKNOWN
