"""Sets the environment that a `langgraph.json` gives its graphs. The one place that writes it."""

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
    """Set variables in place of what they are; None removes one."""
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = str(value).lower() if isinstance(value, bool) else str(value)


def read_env_file(path: Path) -> dict[str, str]:
    """The variables of a `.env` file: `NAME=value` lines, quoted or not, with `${OTHER}` in values.

    Raises `OSError`, and `UnicodeDecodeError` if it is no text.
    """
    values: dict[str, str] = {}
    for name, value in _assignments(path.read_text(encoding="utf-8-sig")):
        values[name] = _REFERENCE.sub(lambda found: _referred(found, values), value)
    return values


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for found in _LINE.finditer(text):
        value = found["single"] if found["single"] is not None else found["bare"]
        if found["double"] is not None:
            value = _ESCAPE.sub(lambda one: _ESCAPES.get(one[1], one[1]), found["double"])
        yield found["name"], value


def _referred(found: re.Match[str], values: Mapping[str, str]) -> str:
    known = values.get(found["name"], os.environ.get(found["name"]))
    return known if known else found["default"] or ""
