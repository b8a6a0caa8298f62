"""Reads and checks an expression."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from antiphon.orchestrator.flows.language.expressions.evaluation import evaluate
from antiphon.orchestrator.flows.language.expressions.functions import FUNCTIONS
from antiphon.orchestrator.flows.language.expressions.positions import (
    ExpressionError,
    one_line,
    position_at,
    position_of,
)
from antiphon.orchestrator.flows.language.expressions.tokens import (
    MAX_DEPTH,
    UNREADABLE,
    check_text,
)
from antiphon.orchestrator.flows.language.expressions.values import ARITHMETIC, COMPARISONS, fits

MAX_NODES = 100
"""Nodes of the tree."""

_ALLOWED = (
    ast.Constant,
    ast.Name,
    ast.BoolOp,
    ast.UnaryOp,
    ast.BinOp,
    ast.Compare,
    ast.IfExp,
    ast.Subscript,
    ast.List,
    ast.Tuple,
    ast.Call,
)
_OPERATORS: frozenset[type[ast.AST]] = frozenset(
    {*ARITHMETIC, *COMPARISONS, ast.And, ast.Or, ast.Not, ast.USub}
)
_REFUSED: dict[type[ast.AST], str] = {
    ast.Attribute: 'there are no attributes: write x["key"]',
    ast.Slice: "there are no slices",
    ast.Dict: "an object cannot be written here",
    ast.Is: "there is no `is`: use ==",
    ast.IsNot: "there is no `is not`: use !=",
}


@dataclass(frozen=True)
class Expression:
    """A checked expression. `names` are the free names that it reads."""

    text: str
    names: frozenset[str]
    tree: ast.expr = field(repr=False, compare=False)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """Return the value over JSON values by name. Raises only `ExpressionError`."""
        return evaluate(self.text, self.tree, values)


def parse(text: str, names: Collection[str]) -> Expression:
    """Read and check an expression that may use the free `names`. Raises `ExpressionError`."""
    check_text(text)
    line, indent = one_line(text)
    try:
        tree = ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(error, text, indent) from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionError("this cannot be read", position_at(text, indent)) from None
    check = _SyntaxCheck(text, names)
    check.node(tree)
    return Expression(text=text, names=frozenset(check.used), tree=tree)


def _syntax_error(error: SyntaxError, text: str, indent: int) -> ExpressionError:
    if not error.offset:  # the parser came to the end
        position = position_at(text, len(text.rstrip()) - 1)
        return ExpressionError("this expression ends too early", position)
    return ExpressionError(error.msg, position_at(text, indent + error.offset - 1))


class _SyntaxCheck:
    """Checks a tree. Afterwards `used` holds its free names."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.used: set[str] = set()
        self._text = text
        self._names = names
        self._nodes = 0

    def node(self, node: ast.expr, depth: int = 1) -> None:
        """Check a node and the nodes below it. Raises `ExpressionError`."""
        self._nodes += 1
        if depth > MAX_DEPTH:
            raise self._refused(node, "this is nested too deep")
        if self._nodes > MAX_NODES:
            raise self._refused(node, "this expression is too long")
        if not isinstance(node, _ALLOWED):
            raise self._refused(node, _not_allowed(node))
        for part in _operators(node):
            if type(part) not in _OPERATORS:
                raise self._refused(node, _not_allowed(part))
        match node:
            case ast.Constant():
                self._constant(node)
            case ast.Name():
                self._name(node)
            case ast.Call():
                self._call(node)
        for child in _operands(node):
            self.node(child, depth + 1)

    def _constant(self, node: ast.Constant) -> None:
        value = node.value
        if not isinstance(value, str | int | float | None):  # a bool is an int
            raise self._refused(node, "this is neither a text nor a number")
        if isinstance(value, int | float) and not fits(value):
            raise self._refused(node, "this number is too large")
        if isinstance(value, str) and UNREADABLE.search(value):
            raise self._refused(node, "this text has a character that cannot be written")

    def _name(self, node: ast.Name) -> None:
        if node.id not in self._names:
            names = ", ".join(sorted(self._names)[:20])
            hint = f"; there are {names}" if names else ""
            raise self._refused(node, f"there is no name {node.id!r} here{hint}")
        self.used.add(node.id)

    def _call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            functions = ", ".join(FUNCTIONS)
            raise self._refused(node.func, f"there are only these functions: {functions}")
        name = node.func.id
        if node.keywords:
            message = f"{name}() takes its arguments without names"
            raise self._refused(node.keywords[0].value, message)
        least, most = FUNCTIONS[name].least, FUNCTIONS[name].most
        if not least <= len(node.args) <= most:
            counts = _counts(least, most)
            message = f"{name}() takes {counts} arguments, not {len(node.args)}"
            raise self._refused(node, message)

    def _refused(self, node: ast.expr, message: str) -> ExpressionError:
        return ExpressionError(message, position_of(self._text, node))


def _not_allowed(node: ast.AST) -> str:
    return _REFUSED.get(type(node), f"this is not part of the language ({type(node).__name__})")


def _counts(least: int, most: int) -> str:
    if least == most:
        return f"{least}"
    return f"{least} or more" if most > 2 else f"{least} or {most}"


def _operators(node: ast.expr) -> list[ast.AST]:
    match node:
        case ast.BoolOp() | ast.UnaryOp() | ast.BinOp():
            return [node.op]
        case ast.Compare():
            return [*node.ops]
    return []


def _operands(node: ast.expr) -> Iterable[ast.expr]:
    """Return the parts of a node that are evaluated; the name of a function is not."""
    if isinstance(node, ast.Call):
        return node.args
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
