"""The server's log: one line per entry, with correlation ids, never with a token or a user's text.

On a terminal the lines are for people, elsewhere they are JSON. Of exceptions they contain types,
causes and places. Exceptions' own texts may quote a prompt or a key, so they are written at level
`debug` only.
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import msgspec

_SECRETS = re.compile(
    r"((?:token|ticket|api_key|password)=|bearer[ .]|sk-)[^\s&\"',;]+", re.IGNORECASE
)
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "color_message",
    "taskName",
}

CAUSES = 8
"""Maximum number of exceptions in a chain that are written."""
ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class Redacted(logging.Formatter):
    """Formats lines for people, and removes secrets anywhere in the finished line.

    With `texts`, exceptions are written with their own texts.
    """

    def __init__(self, line: str | None = None, *, texts: bool = False) -> None:
        super().__init__(line)
        self._texts = texts

    def format(self, record: logging.LogRecord) -> str:
        """Return the line without secrets."""
        return _SECRETS.sub(r"\1[redacted]", self.line(record))

    def line(self, record: logging.LogRecord) -> str:
        """Return the whole line: time, level, logger, message, and the `extra` values."""
        details = "".join(f" {name}={value}" for name, value in _extra(record).items())
        exception, record.exc_info, record.exc_text = record.exc_info, None, None
        head = (super().format(record) + details).replace("\r", "\\r").replace("\n", "\\n")
        record.exc_info = exception
        return f"{head}\n{self.formatException(exception)}" if exception else head

    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802 - the name is logging's
        """Return an exception's place and type and its causes; its text only with `texts`."""
        if ei[1] is None:
            return "no exception"
        if self._texts:
            return "".join(traceback.format_exception(ei[1])).rstrip()
        frames = "".join(traceback.format_tb(ei[2])) if ei[2] else ""
        return frames + ", caused by ".join(type(error).__name__ for error in _chain(ei[1]))


class Structured(Redacted):
    """Formats lines for machines, as JSON."""

    def line(self, record: logging.LogRecord) -> str:
        """Return the entry as a JSON object."""
        entry: dict[str, Any] = {
            "at": round(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return msgspec.json.encode(entry, enc_hook=str).decode()


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and value is not None
    }


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its causes, at most `CAUSES` in all."""
    for _ in range(CAUSES):
        if error is None:
            return
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def configure(level: str) -> None:
    """Send everything to standard error through one formatter, uvicorn's lines as well."""
    handler = logging.StreamHandler()
    line = "%(asctime)s %(levelname)-7s %(name)s %(message)s"
    texts = level.lower() == "debug"
    on_terminal = sys.stderr.isatty()
    handler.setFormatter(Redacted(line, texts=texts) if on_terminal else Structured(texts=texts))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
