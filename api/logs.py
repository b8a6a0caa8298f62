"""What the server writes to its log: plain lines, and never a token."""

from __future__ import annotations

import logging
import re

_SECRETS = re.compile(r"((?:token|ticket|api_key|password)=|bearer[ .]|sk-)[^\s&\"',;]+", re.IGNORECASE)


class Redacted(logging.Formatter):
    """Takes secrets out of the finished line, whoever wrote it and wherever they stand in it."""

    def format(self, record: logging.LogRecord) -> str:
        """The line without secrets."""
        return _SECRETS.sub(r"\1[redacted]", super().format(record))


def configure(level: str) -> None:
    """Send everything to standard error through one formatter, uvicorn's lines as well."""
    handler = logging.StreamHandler()
    handler.setFormatter(Redacted("%(asctime)s %(levelname)-7s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)
