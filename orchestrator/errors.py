"""Errors and their stable codes. Messages are written for users and never hold internals.

One tree, from the database to the web:

AntiphonError
├── StorageError                   antiphon.data.errors
│   ├── Fenced
│   └── Refused
│       ├── NotFound
│       ├── Busy
│       └── IdempotencyConflict
├── BadRequest
│   ├── EmptyMessage
│   ├── TooLarge
│   ├── UnknownAgent
│   ├── UnknownGraph
│   ├── BadInput
│   └── BadContext
├── NotInterrupted
├── UnknownQuestion
├── AnswerUnclear
├── AnswerInvalid
├── AnswerLost
├── ModelCut
├── ModelReportedError
├── NoCompletion
├── ModelLength
├── ModelFiltered
├── ModelQuota
├── ContextTooLong
├── NoAnswer
│   └── RunFailed                  antiphon.orchestrator.engine.run
├── CrashLoop
├── Crashed
├── StateNotStorable
├── StateTooLarge
├── SyncInAsync
├── StoreRefused
├── BudgetExceeded                 antiphon.orchestrator.budget
├── FlowFailed                     antiphon.orchestrator.flows.nodes
├── FlowInvalid                    antiphon.orchestrator.flows.definition
└── Problem                        antiphon.api.problems

`CODES` has the answer to each code.
"""

from __future__ import annotations

from typing import NamedTuple

from antiphon.data.errors import AntiphonError


class Code(NamedTuple):
    """The answer to an error: its HTTP status, and the code that closes a WebSocket, if any."""

    status: int = 500
    close: int | None = None
    retryable: bool = False
    """Whether a run that failed with it may succeed when it is tried again."""
    refuses: bool = True
    """Whether a request can be refused with it; otherwise it only ends runs, in an event."""


CODES: dict[str, Code] = {
    "BAD_REQUEST": Code(400),
    "INVALID_JSON": Code(400),
    "EMPTY_MESSAGE": Code(400),
    "UNKNOWN_TYPE": Code(400),
    "BAD_CONTEXT": Code(422),
    "BAD_INPUT": Code(422),
    "UNKNOWN_AGENT": Code(400),
    "UNKNOWN_GRAPH": Code(400),
    "AUTH_REQUIRED": Code(401, 4401),
    "AUTH_INVALID": Code(401, 4401),
    "AUTH_TIMEOUT": Code(401, 4408),
    "AGENT_NOT_FOUND": Code(404, 4404),
    "FORBIDDEN": Code(403, 4403),
    "NOT_FOUND": Code(404),
    "METHOD_NOT_ALLOWED": Code(405),
    "BUSY": Code(409),
    "NOT_INTERRUPTED": Code(409),
    "UNKNOWN_QUESTION": Code(409),
    "CURSOR_GONE": Code(410),
    "TOO_LARGE": Code(413, 1009),
    "UNSUPPORTED_DATA": Code(415),
    "ANSWER_INVALID": Code(422),
    "ANSWER_UNCLEAR": Code(422),
    "FLOW_INVALID": Code(422),
    "IDEMPOTENCY_CONFLICT": Code(422),
    "BUDGET_EXCEEDED": Code(429),
    "RATE_LIMITED": Code(429, 4429),
    "FLOW_FAILED": Code(500),
    "ANSWER_LOST": Code(500),
    "STORE_REFUSED": Code(500),
    "CRASHED": Code(500),
    "CRASH_LOOP": Code(500),
    "MODEL_CUT": Code(502, retryable=True),
    "INTERNAL": Code(500, 1011),
    "UNAVAILABLE": Code(503),
    "MODEL_RATE_LIMITED": Code(retryable=True, refuses=False),
    "MODEL_TIMEOUT": Code(retryable=True, refuses=False),
    "MODEL_UNAVAILABLE": Code(retryable=True, refuses=False),
    "MODEL_GARBAGE": Code(retryable=True, refuses=False),
    "MODEL_AUTH": Code(refuses=False),
    "MODEL_NOT_FOUND": Code(refuses=False),
    "MODEL_REFUSED": Code(refuses=False),
    "MODEL_LENGTH": Code(refuses=False),
    "MODEL_FILTERED": Code(refuses=False),
    "MODEL_QUOTA": Code(refuses=False),
    "MODEL_CONTEXT": Code(refuses=False),
    "RECURSION_LIMIT": Code(refuses=False),
    "AGENT_TIMEOUT": Code(retryable=True, refuses=False),
    "AGENT_FAILED": Code(refuses=False),
    "NO_ANSWER": Code(refuses=False),
    "STATE_NOT_STORABLE": Code(refuses=False),
    "STATE_TOO_LARGE": Code(refuses=False),
    "SYNC_IN_ASYNC": Code(refuses=False),
}
"""Every code that a client may meet, in answers to requests and in events."""


class BadRequest(AntiphonError):
    """The request itself is wrong."""

    code = "BAD_REQUEST"
    message = "The request is not valid."


class EmptyMessage(BadRequest):
    """The message has no text."""

    code = "EMPTY_MESSAGE"
    message = "The message is empty."


class TooLarge(BadRequest):
    """The message is longer than the limit."""

    code = "TOO_LARGE"
    message = "The message is too large."


class UnknownAgent(BadRequest):
    """The request names an agent that the team does not have."""

    code = "UNKNOWN_AGENT"
    message = "There is no such agent."


class UnknownGraph(BadRequest):
    """The request names a graph that is not served."""

    code = "UNKNOWN_GRAPH"
    message = "There is no such graph."


class BadInput(BadRequest):
    """The message and the request's `inputs` do not fill the graph's input."""

    code = "BAD_INPUT"
    message = "The graph cannot take this message."


class BadContext(BadRequest):
    """The request's `context` does not fit the graph's schema."""

    code = "BAD_CONTEXT"
    message = "The `context` is not valid."


class NotInterrupted(AntiphonError):
    """The run is not waiting for an answer."""

    code = "NOT_INTERRUPTED"
    message = "The run is not waiting for an answer."


class UnknownQuestion(AntiphonError):
    """The run waits for an answer to another question."""

    code = "UNKNOWN_QUESTION"
    message = "The run is not waiting for an answer to this question."


class AnswerUnclear(AntiphonError):
    """The answer is not clear. The question stays open."""

    code = "ANSWER_UNCLEAR"
    message = "It is not clear what the answer means."


class AnswerInvalid(AntiphonError):
    """The answer does not fit the question, which stays open."""

    code = "ANSWER_INVALID"
    message = "The answer does not fit the question."


class AnswerLost(AntiphonError):
    """A step was executed again without calling the tool whose question had been answered."""

    code = "ANSWER_LOST"
    message = "The answer could not be given to the tool that asked for it."


class ModelCut(AntiphonError):
    """The model's answer ended before its end."""

    code = "MODEL_CUT"
    message = "The model stopped in the middle of its answer."


class ModelReportedError(AntiphonError):
    """The model's endpoint reported an error in the middle of an answer."""

    code = "MODEL_UNAVAILABLE"
    message = "The model reported an error."


class NoCompletion(AntiphonError):
    """The model's endpoint sent something that is no completion; `detail` is for the log."""

    code = "MODEL_GARBAGE"
    message = "The model sent something that is not an answer."

    def __init__(self, detail: str) -> None:
        super().__init__()
        self.detail = detail


class ModelLength(AntiphonError):
    """The model reached its limit of tokens before it had written anything of its answer."""

    code = "MODEL_LENGTH"
    message = "The model used up its tokens before it began to answer."


class ModelFiltered(AntiphonError):
    """A filter of the model's provider withheld the answer, or refused the question."""

    code = "MODEL_FILTERED"
    message = "The model's provider filtered the answer."


class ModelQuota(AntiphonError):
    """The account at the model's provider is out of credit."""

    code = "MODEL_QUOTA"
    message = "The account at the model's provider is used up."


class ContextTooLong(AntiphonError):
    """The conversation is longer than the model can read, also without its older part."""

    code = "MODEL_CONTEXT"
    message = "The conversation is too long for the model."


class NoAnswer(AntiphonError):
    """The graph ended without a text and without an output."""

    code = "NO_ANSWER"
    message = "The graph ended without an answer."


class CrashLoop(AntiphonError):
    """The run's process died again and again."""

    code = "CRASH_LOOP"
    message = "The run failed repeatedly and was given up."


class Crashed(AntiphonError):
    """The run's process died, and its graph must not be continued."""

    code = "CRASHED"
    message = "The run was interrupted by a crash."


class StateNotStorable(AntiphonError):
    """A graph's state holds a value that cannot be stored; the message names its key and type."""

    code = "STATE_NOT_STORABLE"
    message = "The graph's state cannot be stored."


class StateTooLarge(AntiphonError):
    """A graph's state is larger than the limit."""

    code = "STATE_TOO_LARGE"
    message = "The graph's state is too large."


class SyncInAsync(AntiphonError):
    """A coroutine of a graph called another graph without `await`, which blocks the event loop."""

    code = "SYNC_IN_ASYNC"
    message = (
        "A coroutine calls a graph with `invoke` or `stream`; "
        "it must await `ainvoke` or use `astream`."
    )


class StoreRefused(AntiphonError, ValueError):
    """A graph asked its store for something that it cannot do."""

    code = "STORE_REFUSED"
    message = "The graph's store cannot do this."


class Failure(NamedTuple):
    """A failure as it is reported: a stable code, a message, and whether to try again."""

    code: str
    message: str
    retryable: bool


_BY_NAME = {
    "RateLimitError": ("MODEL_RATE_LIMITED", "The model is receiving too many requests."),
    "APITimeoutError": ("MODEL_TIMEOUT", "The model did not answer in time."),
    "StreamChunkTimeoutError": ("MODEL_TIMEOUT", "The model did not answer in time."),
    "ReadTimeout": ("MODEL_TIMEOUT", "The model did not answer in time."),
    "APIConnectionError": ("MODEL_UNAVAILABLE", "The connection to the model failed."),
    "ReadError": ("MODEL_UNAVAILABLE", "The connection to the model failed."),
    "RemoteProtocolError": ("MODEL_UNAVAILABLE", "The connection to the model failed."),
    "InternalServerError": ("MODEL_UNAVAILABLE", "The model reported an error."),
    "APIError": ("MODEL_UNAVAILABLE", "The model reported an error."),
    "JSONDecodeError": ("MODEL_GARBAGE", "The model sent something that is not an answer."),
    "ModelGarbage": ("MODEL_GARBAGE", "The model sent something that is not an answer."),
    "ModelCut": (ModelCut.code, ModelCut.message),
    "AuthenticationError": ("MODEL_AUTH", "The model refused the server's credentials."),
    "PermissionDeniedError": ("MODEL_AUTH", "The model refused the server's credentials."),
    "NotFoundError": ("MODEL_NOT_FOUND", "The configured model does not exist."),
    "BadRequestError": ("MODEL_REFUSED", "The model refused the request."),
    "UnprocessableEntityError": ("MODEL_REFUSED", "The model refused the request."),
    "APIStatusError": ("MODEL_REFUSED", "The model refused the request."),
    "GraphRecursionError": ("RECURSION_LIMIT", "The graph took more steps than it may."),
    "NodeTimeoutError": ("AGENT_TIMEOUT", "An agent took longer than it may."),
}
"""Codes and messages by class name, so that no model library is imported for them."""


def describe(error: BaseException) -> Failure:
    """Return how to report an exception to a user, without the exception's own text.

    The first class along its ancestry that is in the table decides.
    """
    code, message = _described(error)
    return Failure(code, message, CODES[code].retryable)


def _described(error: BaseException) -> tuple[str, str]:
    for cls in type(error).__mro__:
        if cls.__name__ in _BY_NAME:
            return _BY_NAME[cls.__name__]
    if isinstance(error, AntiphonError):
        return error.code, error.message
    return "AGENT_FAILED", "An agent failed."
