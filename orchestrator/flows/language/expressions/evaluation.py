"""Evaluates a checked tree over JSON values."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from antiphon.orchestrator.flows.language.expressions.functions import FUNCTIONS
from antiphon.orchestrator.flows.language.expressions.positions import ExpressionError, position_of
from antiphon.orchestrator.flows.language.expressions.values import (
    ARITHMETIC,
    COMPARISONS,
    FAULTS,
    explain,
    item_of,
    negate,
)


def evaluate(text: str, tree: ast.expr, values: Mapping[str, Any]) -> Any:
    """Return the value of a tree, over values by name. Raises only `ExpressionError`."""
    return _Evaluation(text, values).value(tree)


class _Evaluation:
    """One evaluation of a tree."""

    def __init__(self, text: str, values: Mapping[str, Any]) -> None:
        self._text = text
        self._values = values

    def value(self, node: ast.expr) -> Any:
        """Return the value of a node. An error has the position of the innermost node."""
        try:
            return self._value(node)
        except ExpressionError:
            raise
        except FAULTS as error:
            raise ExpressionError(explain(error), position_of(self._text, node)) from None

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return self._name(node.id)
            case ast.BoolOp():
                return self._boolean(node)
            case ast.UnaryOp():
                value = self.value(node.operand)
                return not value if isinstance(node.op, ast.Not) else negate(value)
            case ast.BinOp():
                operation = ARITHMETIC[type(node.op)]
                return operation(self.value(node.left), self.value(node.right))
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp():
                return self.value(node.body if self.value(node.test) else node.orelse)
            case ast.Subscript():
                return item_of(self.value(node.value), self.value(node.slice))
            case ast.List() | ast.Tuple():
                return [self.value(item) for item in node.elts]
            case ast.Call(func=ast.Name(id=name)):
                arguments = [self.value(argument) for argument in node.args]
                return FUNCTIONS[name].call(*arguments)
        raise TypeError(f"this is not part of the language ({type(node).__name__})")

    def _name(self, name: str) -> Any:
        if name not in self._values:
            raise ValueError(f"{name!r} has no value")
        return self._values[name]

    def _boolean(self, node: ast.BoolOp) -> Any:
        """Return the first operand that decides, else the last one, as Python does."""
        deciding = isinstance(node.op, ast.Or)
        value = None
        for operand in node.values:
            value = self.value(operand)
            if bool(value) == deciding:
                break
        return value

    def _compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for op, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            if not COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True
