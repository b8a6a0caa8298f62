"""Errors on the wire: one table from stable codes to HTTP statuses and WebSocket close codes. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """How a code is answered: an HTTP status, and the code with which a WebSocket closes, if it does."""

    status: int
    close: int | None = None


CODES: dict[str, Answer] = {
    "BAD_REQUEST": Answer(400),
    "INVALID_JSON": Answer(400),
    "EMPTY_MESSAGE": Answer(400),
    "UNKNOWN_TYPE": Answer(400),
    "BAD_CONTEXT": Answer(422),
    "BAD_INPUT": Answer(422),
    "UNKNOWN_AGENT": Answer(400),
    "UNKNOWN_GRAPH": Answer(400),
    "AUTH_REQUIRED": Answer(401, 4401),
    "AUTH_INVALID": Answer(401, 4401),
    "AUTH_TIMEOUT": Answer(401, 4408),
    "AGENT_NOT_FOUND": Answer(404, 4404),
    "FORBIDDEN": Answer(403, 4403),
    "NOT_FOUND": Answer(404),
    "METHOD_NOT_ALLOWED": Answer(405),
    "BUSY": Answer(409),
    "NOT_INTERRUPTED": Answer(409),
    "UNKNOWN_QUESTION": Answer(409),
    "CURSOR_GONE": Answer(410),
    "TOO_LARGE": Answer(413, 1009),
    "UNSUPPORTED_DATA": Answer(415),
    "ANSWER_INVALID": Answer(422),
    "ANSWER_UNCLEAR": Answer(422),
    "FLOW_INVALID": Answer(422),
    "IDEMPOTENCY_CONFLICT": Answer(422),
    "BUDGET_EXCEEDED": Answer(429),
    "RATE_LIMITED": Answer(429, 4429),
    "FLOW_FAILED": Answer(500),
    "ANSWER_LOST": Answer(500),
    "STORE_REFUSED": Answer(500),
    "CRASHED": Answer(500),
    "CRASH_LOOP": Answer(500),
    "MODEL_CUT": Answer(502),
    "INTERNAL": Answer(500, 1011),
    "UNAVAILABLE": Answer(503),
}


class Problem(Exception):
    """Something to tell the client: a stable code and a clean sentence."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retry_after: int | None = None,
        details: Sequence[dict[str, Any]] = (),
        status: int | None = None,
    ) -> None:
        super().__init__(message)
        self._status = status
        self.details = list(details)
        """Each error of a document that was sent, with its place."""
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status: that of the code, unless told otherwise."""
        return self._status or CODES.get(self.code, CODES["INTERNAL"]).status


INTERNAL = Problem("INTERNAL", "Something went wrong on our side.")
