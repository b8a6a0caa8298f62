"""Positions in the text of an expression or a template, and the error that carries one."""

from __future__ import annotations

import ast

Position = tuple[int, int]
"""`(line, column)`, both from 1."""


class ExpressionError(ValueError):
    """An expression or a template is wrong, or has no value.

    `message` is written for the author of the flow.
    """

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(f"{message} (line {position[0]}, column {position[1]})")
        self.message = message
        self.position = position

    def moved(self, start: Position) -> ExpressionError:
        """Return the error as one of a template in which the expression begins at `start`."""
        line, column = self.position
        column += start[1] - 1 if line == 1 else 0
        return ExpressionError(self.message, (start[0] + line - 1, column))


def position_at(text: str, offset: int) -> Position:
    """Return the position of a character. An offset after the end stands for the last one."""
    offset = max(0, min(offset, len(text) - 1))
    begin = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - begin + 1


def position_of(text: str, node: ast.expr) -> Position:
    """Return the position of a node of the tree."""
    line, indent = one_line(text)
    before = line.encode()[: node.col_offset].decode(errors="ignore")  # the parser counts bytes
    return position_at(text, indent + len(before))


def one_line(text: str) -> tuple[str, int]:
    """Return the line that Python's parser reads, and how many characters of indent it has lost.

    Line breaks are replaced by spaces, so that all other characters keep their offsets.
    """
    line = text.replace("\n", " ").replace("\r", " ")
    stripped = line.lstrip(" \t\f")
    return stripped, len(line) - len(stripped)
