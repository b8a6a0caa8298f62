"""The language of conditions and templates in users' flows: small, checked, and bounded. Pure.

An expression reads like Python and is read by Python's parser, but the interpreter never executes
it: the tree is checked against a list of what is allowed, and evaluated by this package. The
language has constants, names, `and or not`, comparisons, `+ - * / // %`, `a if c else b`,
`x["key"]`, lists, and the functions of `FUNCTIONS`; it has no attributes, methods or loops. What is
missing reads as None (`x["no such key"]`, `x[99]`, and a subscript of None), so that flows do not
break over a field that a model left out. `True` and `False` are not numbers.

A value is what JSON can hold. Every step takes time linear in its values, so an expression over
values of a megabyte takes milliseconds.

The modules, each importing only earlier ones: `positions`, `tokens`, `values`, `functions`,
`evaluation`, `syntax`, `templates`. None of them knows anything about flows.
"""

from __future__ import annotations

from antiphon.orchestrator.flows.language.expressions.functions import FUNCTIONS
from antiphon.orchestrator.flows.language.expressions.positions import ExpressionError, Position
from antiphon.orchestrator.flows.language.expressions.syntax import Expression, parse
from antiphon.orchestrator.flows.language.expressions.templates import (
    MAX_RENDERED,
    Placeholder,
    Template,
    parse_template,
)
from antiphon.orchestrator.flows.language.expressions.values import MAX_RESULT

__all__ = [
    "FUNCTIONS",
    "MAX_RENDERED",
    "MAX_RESULT",
    "Expression",
    "ExpressionError",
    "Placeholder",
    "Position",
    "Template",
    "parse",
    "parse_template",
]
