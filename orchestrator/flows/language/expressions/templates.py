"""Texts with `{{ expression }}` placeholders."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.orchestrator.flows.language.expressions.positions import (
    ExpressionError,
    Position,
    position_at,
)
from antiphon.orchestrator.flows.language.expressions.syntax import Expression, parse
from antiphon.orchestrator.flows.language.expressions.values import FAULTS, as_text, explain

MAX_TEMPLATE = 20_000
"""Characters of a template."""
MAX_PLACEHOLDERS = 50
MAX_RENDERED = 50_000
"""Characters of a rendered template."""


@dataclass(frozen=True)
class Placeholder:
    """An expression in a template, and its position there."""

    expression: Expression
    position: Position

    def render(self, values: Mapping[str, Any], room: int) -> str:
        """Return the value as a text of at most `room` characters. Raises `ExpressionError`."""
        try:
            return as_text(self.expression.evaluate(values), room)
        except ExpressionError as error:
            raise error.moved(self.position) from None
        except FAULTS as error:
            raise ExpressionError(explain(error), self.position) from None


@dataclass(frozen=True)
class Template:
    """A checked text with placeholders."""

    text: str
    parts: tuple[str | Placeholder, ...] = field(repr=False)

    @property
    def expressions(self) -> list[Expression]:
        """The expressions of the placeholders."""
        return [part.expression for part in self.parts if isinstance(part, Placeholder)]

    @property
    def names(self) -> frozenset[str]:
        """The free names that the placeholders read."""
        return frozenset().union(*(expression.names for expression in self.expressions))

    def render(self, values: Mapping[str, Any]) -> str:
        """Return the text with the values: None as nothing, other values than texts as JSON.

        Raises `ExpressionError`, with a position in the template, if a placeholder has no value or
        the text would be longer than `MAX_RENDERED`.
        """
        room = MAX_RENDERED - sum(len(part) for part in self.parts if isinstance(part, str))
        pieces = []
        for part in self.parts:
            if isinstance(part, str):
                pieces.append(part)
            else:
                pieces.append(part.render(values, room))
                room -= len(pieces[-1])
        return "".join(pieces)


def parse_template(text: str, names: Collection[str]) -> Template:
    """Read and check a text with placeholders that may use the free `names`.

    A placeholder ends at the first `}}`. There is no escape: two braces are written `{{ "{" }}{`.
    Raises `ExpressionError` with a position in the text.
    """
    if len(text) > MAX_TEMPLATE:
        message = f"a template has at most {MAX_TEMPLATE} characters"
        raise ExpressionError(message, position_at(text, MAX_TEMPLATE))
    parts: list[str | Placeholder] = []
    at = 0
    while (begin := text.find("{{", at)) >= 0:
        if len(parts) >= 2 * MAX_PLACEHOLDERS:
            message = f"a template has at most {MAX_PLACEHOLDERS} placeholders"
            raise ExpressionError(message, position_at(text, begin))
        parts.append(text[at:begin])
        end = text.find("}}", begin)
        if end < 0:
            message = "this placeholder has no end: }} is missing"
            raise ExpressionError(message, position_at(text, begin))
        parts.append(_placeholder(text[begin + 2 : end], names, position_at(text, begin + 2)))
        at = end + 2
    return Template(text=text, parts=(*parts, text[at:]))


def _placeholder(text: str, names: Collection[str], position: Position) -> Placeholder:
    try:
        return Placeholder(parse(text, names), position)
    except ExpressionError as error:
        raise error.moved(position) from None
