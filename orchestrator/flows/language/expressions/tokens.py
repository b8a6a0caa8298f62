"""What is refused in the text of an expression, before Python's parser reads it."""

from __future__ import annotations

import re

from antiphon.orchestrator.flows.language.expressions.positions import ExpressionError, position_at

MAX_LENGTH = 500
"""Characters of an expression."""
MAX_DEPTH = 20
"""Levels of brackets, and of the tree."""
UNREADABLE = re.compile("[\x00\ud800-\udfff]")

_ESCAPE = re.compile(r"\\([\\'\"nrt]|u[0-9a-fA-F]{4}|)")
_TOKEN = re.compile(
    r"""(?P<triple> '{3} | "{3} ) | (?P<prefix> \b [bfrtu]{1,2} (?=['"]) )
    | (?P<string> '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" )
    | (?P<open> [(\[{] ) | (?P<close> [)\]}] )
    | (?P<comment> \# ) | (?P<number> (?<!\w) \.?\d[\w.]* )""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_REFUSED = {
    "triple": "a text stands between single quotation marks",
    "prefix": "a text has no letters before its quotation marks; "
    "use + and text() to put values into it",
    "comment": "an expression has no comments",
    "number": "a number is written as 12, 0.5 or 1e3, with a space before the next word",
}
_DECIMAL = re.compile(r"(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][\d_]*)?")


def check_text(text: str) -> None:
    r"""Refuse what the parser must not see.

    Some texts would cost it too much, and some would make it warn (`"\d"`, `1if x else 2`). Raises
    `ExpressionError`.
    """
    if len(text) > MAX_LENGTH:
        message = f"an expression has at most {MAX_LENGTH} characters"
        raise ExpressionError(message, position_at(text, MAX_LENGTH))
    if not text.strip():
        raise ExpressionError("an expression is missing", (1, 1))
    if unreadable := UNREADABLE.search(text):
        position = position_at(text, unreadable.start())
        raise ExpressionError("this character cannot be read", position)
    for escape in _ESCAPE.finditer(text):
        if not escape[1]:
            message = r"""after a backslash there is one of \ ' " n r t, or u and four digits"""
            raise ExpressionError(message, position_at(text, escape.start()))
    _check_tokens(text)


def _check_tokens(text: str) -> None:
    depth = 0
    for token in _TOKEN.finditer(text):
        kind = token.lastgroup or ""
        position = position_at(text, token.start())
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if depth > MAX_DEPTH:
            raise ExpressionError("there are too many brackets inside each other", position)
        is_decimal = kind == "number" and _DECIMAL.fullmatch(token[0])
        if kind in _REFUSED and not is_decimal:
            raise ExpressionError(_REFUSED[kind], position)
