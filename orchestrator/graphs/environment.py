"""Sets the environment variables that a `langgraph.json` gives its graphs.

This is the only place that writes the environment.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

log = logging.getLogger("antiphon.graphs")

_LINE = re.compile(
    r"""^[ \t]*(?:export[ \t]+)?(?P<name>[A-Za-z_][\w.-]*)[ \t]*=[ \t]*
    (?:'(?P<single>[^']*)'|"(?P<double>(?:\\.|[^"\\])*)"|(?P<bare>[^\r\n]*?))
    [ \t]*(?:(?<=[ \t'"=])\#[^\r\n]*)?$""",
    re.VERBOSE | re.MULTILINE | re.DOTALL,
)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_REFERENCE = re.compile(r"\$\{(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}")


def set_environment(values: Mapping[str, str | int | float | bool | None]) -> None:
    """Set environment variables, replacing earlier values. None removes a variable."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value).lower() if isinstance(value, bool) else str(value)


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a `.env` file.

    It holds `NAME=value` lines, quoted or not; values may refer to others as `${OTHER}`. Raises
    `OSError`, and `UnicodeDecodeError` if the file is not text.
    """
    values: dict[str, str] = {}
    for name, value in _assignments(path.read_text(encoding="utf-8-sig")):
        values[name] = _REFERENCE.sub(lambda match: _referred(match, values), value)
    return values


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in _LINE.finditer(text):
        value = line["single"] if line["single"] is not None else line["bare"]
        if line["double"] is not None:
            value = _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), line["double"])
        yield line["name"], value


def _referred(reference: re.Match[str], values: Mapping[str, str]) -> str:
    name = reference["name"]
    value = values.get(name, os.environ.get(name))
    return value or reference["default"] or ""
