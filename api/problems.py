"""Errors on the wire. Their tree and their codes are in `orchestrator/errors.py`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from antiphon.data.errors import AntiphonError
from antiphon.orchestrator import errors

CODES = {code: entry for code, entry in errors.CODES.items() if entry.refuses}
"""The codes that a request can be answered with."""


class Problem(AntiphonError):
    """An error with a code instead of a class of its own."""

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
        self.details = details
        self.retry_after = retry_after
        """Seconds after which trying again makes sense."""
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status: that of the code, unless another one was given."""
        return self._status or CODES.get(self.code, CODES["INTERNAL"]).status
