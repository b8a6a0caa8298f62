"""The root of all errors that callers may show, and what a database raises. Pure.

`antiphon.orchestrator.errors` draws the whole tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AntiphonError(Exception):
    """Base of the errors that callers may show. `code` is stable; `message` is clean."""

    code = "INTERNAL"
    message = "Something went wrong on our side."
    details: Sequence[dict[str, Any]] = ()
    """Each mistake in a document that was sent, with its place."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)
        self.message = message or self.message


class StorageError(AntiphonError):
    """The database did not take or give something. Nothing was stored.

    `detail` is for the log: `str()` returns it, and `message` never contains it.
    """

    code = "UNAVAILABLE"
    message = "The service cannot store anything right now. Please try again."

    def __init__(self, detail: str | None = None) -> None:
        super().__init__()
        if detail is not None:
            self.args = (detail,)


class Fenced(StorageError):
    """The writer lost its right to write: another one has claimed the run, or it has ended."""


class Refused(StorageError):
    """The database works, but refuses this. `str()` is the message, as the reason is no secret."""

    def __str__(self) -> str:
        return self.message


class NotFound(Refused):
    """Missing, or another user's: the caller cannot distinguish them."""

    code = "NOT_FOUND"
    message = "There is no such thing here."


class Busy(Refused):
    """The thread has an unfinished run, which the message or the deletion does not wait for."""

    code = "BUSY"
    message = "The conversation is still answering the previous message."


class IdempotencyConflict(Refused):
    """An idempotency key was used before, for another request."""

    code = "IDEMPOTENCY_CONFLICT"
    message = "This Idempotency-Key was used for a different request."
