"""The language of conditions and templates in users' flows: small, checked before it runs, bounded when it runs. Pure.

An expression reads like Python and is read by Python's parser, but nothing of it ever reaches the interpreter: the tree
is checked against a list of what is allowed, and walked by this file. There are constants, names, `and or not`,
comparisons, `+ - * / // %`, `a if c else b`, `x["key"]`, lists, and the functions of `FUNCTIONS`; no attributes, no
methods, no loops. What is missing reads as None (`x["no such key"]`, `x[99]`, and a subscript of None), so that flows
do not break over a field that a model left out. `True` and `False` are no numbers.

A value is what JSON can hold. Every step takes time linear in the values it is given, and there are no loops, so that
an expression over values of a megabyte takes milliseconds.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_LENGTH = 500
"""Characters of an expression."""
MAX_NODES = 100
MAX_DEPTH = 20
"""Of the tree, and of brackets inside each other."""
MAX_RESULT = 10_000
"""Characters of a text, or items of a list, that an expression makes. What it is given may be longer."""
MAX_INTEGER = 2**63
"""Whole numbers that an expression makes are smaller than this, without their sign."""
MAX_TEMPLATE = 20_000
"""Characters of a template."""
MAX_PLACEHOLDERS = 50
MAX_RENDERED = 50_000
"""Characters of a rendered template."""

Position = tuple[int, int]
"""`(line, column)`, both from 1."""


class ExpressionError(ValueError):
    """An expression or a template is wrong, or cannot be evaluated. `message` is written for the author of the flow."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(f"{message} (line {position[0]}, column {position[1]})")
        self.message = message
        self.position = position


@dataclass(frozen=True)
class Expression:
    """A checked expression. `names` are the free names it reads."""

    text: str
    names: frozenset[str]
    tree: ast.expr = field(repr=False, compare=False)

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value over JSON values by name. Raises ExpressionError, and nothing else, where there is none."""
        return _Walk(self.text, values).value(self.tree)


@dataclass(frozen=True)
class Placeholder:
    """An expression inside a template, and where it begins there."""

    expression: Expression
    position: Position

    def render(self, values: Mapping[str, Any], room: int) -> str:
        """Its value as a text of at most `room` characters."""
        try:
            return _text(self.expression.evaluate(values), room)
        except ExpressionError as error:
            raise _moved(error, self.position) from None
        except _FAULTS as error:
            raise ExpressionError(_explain(error), self.position) from None


@dataclass(frozen=True)
class Template:
    """A checked text with `{{ expression }}` placeholders."""

    text: str
    parts: tuple[str | Placeholder, ...] = field(repr=False)

    @property
    def names(self) -> frozenset[str]:
        """The free names that the placeholders read."""
        return frozenset(name for part in self.parts if not isinstance(part, str) for name in part.expression.names)

    def render(self, values: Mapping[str, Any]) -> str:
        """The text with the placeholders' values: None as nothing, other values than texts as compact JSON.

        Raises ExpressionError, with a position inside the template, where a placeholder has no value or the text would
        be longer than 50,000 characters.
        """
        room = MAX_RENDERED - sum(len(part) for part in self.parts if isinstance(part, str))
        pieces = []
        for part in self.parts:
            piece = part if isinstance(part, str) else part.render(values, room)
            room -= 0 if isinstance(part, str) else len(piece)
            pieces.append(piece)
        return "".join(pieces)


# ------------------------------------------------------------------------------------------------------ checking


def parse(text: str, names: Collection[str]) -> Expression:
    """Read and check an expression that may use the free `names`. Raises ExpressionError."""
    _check_text(text)
    line, lead = _one_line(text)
    try:
        tree = ast.parse(line, mode="eval").body
    except SyntaxError as error:
        raise _syntax_error(error, text, lead) from None
    except (ValueError, MemoryError, RecursionError):
        raise ExpressionError("this cannot be read", _position(text, lead)) from None
    check = _Check(text, names)
    check.node(tree)
    return Expression(text=text, names=frozenset(check.used), tree=tree)


def _syntax_error(error: SyntaxError, text: str, lead: int) -> ExpressionError:
    if not error.offset:  # the parser's way of saying that it came to the end
        return ExpressionError("this expression ends too early", _position(text, len(text.rstrip()) - 1))
    return ExpressionError(error.msg, _position(text, lead + error.offset - 1))


def parse_template(text: str, names: Collection[str]) -> Template:
    """Read and check a text with placeholders. Raises ExpressionError with a position inside the text.

    A placeholder ends at the first `}}`. There is no escape: a text with two braces is written `{{ "{" }}{`.
    """
    if len(text) > MAX_TEMPLATE:
        raise ExpressionError(f"a template has at most {MAX_TEMPLATE} characters", _position(text, MAX_TEMPLATE))
    parts: list[str | Placeholder] = []
    at = 0
    while (begin := text.find("{{", at)) >= 0:
        if len(parts) >= 2 * MAX_PLACEHOLDERS:
            raise ExpressionError(f"a template has at most {MAX_PLACEHOLDERS} placeholders", _position(text, begin))
        parts.append(text[at:begin])
        end = text.find("}}", begin)
        if end < 0:
            raise ExpressionError("this placeholder has no end: }} is missing", _position(text, begin))
        parts.append(_placeholder(text[begin + 2 : end], names, _position(text, begin + 2)))
        at = end + 2
    return Template(text=text, parts=(*parts, text[at:]))


def _placeholder(text: str, names: Collection[str], position: Position) -> Placeholder:
    try:
        return Placeholder(parse(text, names), position)
    except ExpressionError as error:
        raise _moved(error, position) from None


def _moved(error: ExpressionError, start: Position) -> ExpressionError:
    """The error of an expression that begins at `start` of a template."""
    line, column = error.position
    return ExpressionError(error.message, (start[0] + line - 1, start[1] + column - 1 if line == 1 else column))


def _position(text: str, offset: int) -> Position:
    """Where a character is; one behind the end is taken for the last one."""
    offset = max(0, min(offset, len(text) - 1))
    begin = text.rfind("\n", 0, offset) + 1
    return text.count("\n", 0, offset) + 1, offset - begin + 1


def _one_line(text: str) -> tuple[str, int]:
    """The text as Python reads an expression, with as many characters, but for those that it was indented by."""
    line = text.replace("\n", " ").replace("\r", " ")
    stripped = line.lstrip(" \t\f")
    return stripped, len(line) - len(stripped)


def _place(text: str, node: ast.expr) -> Position:
    line, lead = _one_line(text)
    before = line.encode()[: node.col_offset].decode(errors="ignore")  # the parser counts bytes
    return _position(text, lead + len(before))


_UNREADABLE = re.compile("[\x00\ud800-\udfff]")
_ESCAPE = re.compile(r"\\([\\'\"nrt]|u[0-9a-fA-F]{4}|)")
_TOKEN = re.compile(
    r"""(?P<triple> '{3} | "{3} ) | (?P<prefix> \b [bfrtu]{1,2} (?=['"]) )
    | (?P<string> '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" )
    | (?P<open> [(\[{] ) | (?P<close> [)\]}] ) | (?P<comment> \# ) | (?P<number> (?<!\w) \.?\d[\w.]* )""",
    re.DOTALL | re.IGNORECASE | re.VERBOSE,
)
_NO_TOKENS = {
    "triple": "a text stands between single quotation marks",
    "prefix": "a text has no letters before its quotation marks; use + and text() to put values into it",
    "comment": "an expression has no comments",
    "number": "a number is written as 12, 0.5 or 1e3, with a space before the next word",
}
_DECIMAL = re.compile(r"(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][\d_]*)?")


def _check_text(text: str) -> None:
    """Refuse what the parser should not even see, for its cost or because it would warn (`"\\d"`, `1if x else 2`)."""
    if len(text) > MAX_LENGTH:
        raise ExpressionError(f"an expression has at most {MAX_LENGTH} characters", _position(text, MAX_LENGTH))
    if not text.strip():
        raise ExpressionError("an expression is missing", (1, 1))
    if found := _UNREADABLE.search(text):
        raise ExpressionError("this character cannot be read", _position(text, found.start()))
    for found in _ESCAPE.finditer(text):
        if not found[1]:
            message = r"""after a backslash there is one of \ ' " n r t, or u and four digits"""
            raise ExpressionError(message, _position(text, found.start()))
    depth = 0
    for found in _TOKEN.finditer(text):
        kind = found.lastgroup or ""
        depth += {"open": 1, "close": -1}.get(kind, 0)
        if depth > MAX_DEPTH:
            raise ExpressionError("there are too many brackets inside each other", _position(text, found.start()))
        if kind in _NO_TOKENS and not (kind == "number" and _DECIMAL.fullmatch(found[0])):
            raise ExpressionError(_NO_TOKENS[kind], _position(text, found.start()))


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
_REFUSED: dict[type[ast.AST], str] = {
    ast.Attribute: 'there are no attributes: write x["key"]',
    ast.Slice: "there are no slices",
    ast.Dict: "an object cannot be written here",
    ast.Is: "there is no `is`: use ==",
    ast.IsNot: "there is no `is not`: use !=",
}


class _Check:
    """Goes through a tree once; afterwards `used` holds its free names."""

    def __init__(self, text: str, names: Collection[str]) -> None:
        self.used: set[str] = set()
        self._text = text
        self._names = names
        self._nodes = 0

    def node(self, node: ast.expr, depth: int = 1) -> None:
        """Refuse what is not allowed in a tree."""
        self._nodes += 1
        if self._nodes > MAX_NODES or depth > MAX_DEPTH:
            raise self._refused(
                node, "this expression is too long" if depth <= MAX_DEPTH else "this is nested too deep"
            )
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
        if isinstance(value, int | float) and not _fits(value):
            raise self._refused(node, "this number is too large")
        if isinstance(value, str) and _UNREADABLE.search(value):
            raise self._refused(node, "this text has a character that cannot be written")

    def _name(self, node: ast.Name) -> None:
        if node.id not in self._names:
            known = ", ".join(sorted(self._names)[:20])
            raise self._refused(node, f"there is no name {node.id!r} here" + (f"; there are {known}" if known else ""))
        self.used.add(node.id)

    def _call(self, node: ast.Call) -> None:
        if not isinstance(node.func, ast.Name) or node.func.id not in FUNCTIONS:
            raise self._refused(node.func, f"there are only these functions: {', '.join(FUNCTIONS)}")
        name = node.func.id
        if node.keywords:
            raise self._refused(node.keywords[0].value, f"{name}() takes its arguments without names")
        least, most = FUNCTIONS[name].least, FUNCTIONS[name].most
        if not least <= len(node.args) <= most:
            wanted = f"{least}" if least == most else f"{least} or more" if most > 2 else f"{least} or {most}"
            raise self._refused(node, f"{name}() takes {wanted} arguments, not {len(node.args)}")

    def _refused(self, node: ast.expr, message: str) -> ExpressionError:
        return ExpressionError(message, _place(self._text, node))


def _not_allowed(node: ast.AST) -> str:
    return _REFUSED.get(type(node), f"this is not part of the language ({type(node).__name__})")


def _operators(node: ast.expr) -> list[ast.AST]:
    match node:
        case ast.BoolOp() | ast.UnaryOp() | ast.BinOp():
            return [node.op]
        case ast.Compare():
            return [*node.ops]
    return []


def _operands(node: ast.expr) -> Iterable[ast.expr]:
    """The parts of a node that are evaluated; a function's name is none."""
    if isinstance(node, ast.Call):
        return node.args
    return [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]


# ---------------------------------------------------------------------------------------------------- evaluating

_FAULTS = (TypeError, ValueError, ArithmeticError, RecursionError)
"""What operations over JSON values may raise; a TypeError or ValueError of this file has a message for people."""


def _explain(error: Exception) -> str:
    if isinstance(error, ZeroDivisionError):
        return "this divides by zero"
    if isinstance(error, OverflowError):
        return "the result is too large"
    return "these values are nested too deep" if isinstance(error, RecursionError) else str(error)


class _Walk:
    """One evaluation of a checked tree."""

    def __init__(self, text: str, values: Mapping[str, Any]) -> None:
        self._text = text
        self._values = values

    def value(self, node: ast.expr) -> Any:
        """The value of a node; what goes wrong is told at the innermost node where it does."""
        try:
            return self._value(node)
        except ExpressionError:
            raise
        except _FAULTS as error:
            raise ExpressionError(_explain(error), _place(self._text, node)) from None

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
                return not value if isinstance(node.op, ast.Not) else _bounded(-_number(value))
            case ast.BinOp():
                return _ARITHMETIC[type(node.op)](self.value(node.left), self.value(node.right))
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp():
                return self.value(node.body if self.value(node.test) else node.orelse)
            case ast.Subscript():
                return _item(self.value(node.value), self.value(node.slice))
            case ast.List() | ast.Tuple():
                return [self.value(item) for item in node.elts]
            case ast.Call(func=ast.Name(id=name)):
                return FUNCTIONS[name].call(*(self.value(argument) for argument in node.args))
        raise TypeError(_not_allowed(node))

    def _name(self, name: str) -> Any:
        if name not in self._values:
            raise ValueError(f"{name!r} has no value")
        return self._values[name]

    def _boolean(self, node: ast.BoolOp) -> Any:
        ends = isinstance(node.op, ast.Or)
        value = None
        for operand in node.values:
            value = self.value(operand)
            if bool(value) == ends:
                break
        return value

    def _compare(self, node: ast.Compare) -> bool:
        left = self.value(node.left)
        for op, operand in zip(node.ops, node.comparators, strict=True):
            right = self.value(operand)
            if not _COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True


def _kind(value: Any) -> str:
    """What a value is called in messages."""
    kinds = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return "None" if value is None else kinds.get(type(value), "something else")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> Any:
    if not _is_number(value):
        raise TypeError(f"a number is needed here, not {_kind(value)}")
    return value


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is needed here, not {_kind(value)}")
    return value


def _fits(number: float) -> bool:
    return abs(number) < MAX_INTEGER if isinstance(number, int) else math.isfinite(number)


def _bounded(value: Any) -> Any:
    """A number, text or list that was made here, if it is not too large."""
    if not (_fits(value) if isinstance(value, int | float) else len(value) <= MAX_RESULT):
        raise OverflowError
    return value


def _weight(value: Any) -> int:
    """Characters and items in a value, at any depth; counting ends where there are too many."""
    weight, rest = 0, [value]
    while rest and weight <= MAX_RESULT:
        one = rest.pop()
        if isinstance(one, str | list | dict):
            weight += len(one)
        if isinstance(one, list | dict) and weight <= MAX_RESULT:
            rest += [*one, *one.values()] if isinstance(one, dict) else one
    return weight


def _add(left: Any, right: Any) -> Any:
    both = next((kind for kind in (str, list) if isinstance(left, kind) and isinstance(right, kind)), None)
    if both and len(left) + len(right) > MAX_RESULT:
        raise OverflowError
    if not both and not (_is_number(left) and _is_number(right)):
        raise TypeError(f"+ does not join {_kind(left)} and {_kind(right)}; text() makes a text of a value")
    return left + right if both else _bounded(left + right)


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(right, str | list):
        left, right = right, left
    if not isinstance(left, str | list):
        return _bounded(_number(left) * _number(right))
    if not isinstance(right, int) or isinstance(right, bool):
        raise TypeError(f"{_kind(left)} is repeated by a whole number, not by {_kind(right)}")
    if _weight(left) * right > MAX_RESULT:  # by weight: a list of long lists, repeated, would be a bomb
        raise OverflowError
    return left * right


def _on_numbers(operation: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    return lambda left, right: _bounded(operation(_number(left), _number(right)))


def _ordered(operation: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def compare(left: Any, right: Any) -> bool:
        if not _comparable([left, right]):
            raise TypeError(f"{_kind(left)} and {_kind(right)} have no order")
        return operation(left, right)

    return compare


def _comparable(values: list[Any]) -> bool:
    return all(_is_number(one) for one in values) or all(isinstance(one, str) for one in values)


def _contains(container: Any, item: Any) -> bool:
    if isinstance(container, str):
        return _string(item) in container
    if isinstance(container, dict):
        return _key(item) in container
    if not isinstance(container, list):
        raise TypeError(f"nothing is in {_kind(container)}")
    return item in container


def _key(key: Any) -> Any:
    if isinstance(key, list | dict):
        raise TypeError(f"{_kind(key)} is no key")
    return key


def _item(container: Any, key: Any) -> Any:
    """The item of a list or an object; None where it is missing, or where the container or the key itself is."""
    if container is None or key is None:
        return None
    if isinstance(container, dict):
        return container.get(_key(key))
    if not isinstance(container, list):
        raise TypeError(f"{_kind(container)} has no items")
    if not isinstance(key, int) or isinstance(key, bool):
        raise TypeError(f"the items of a list have whole numbers, not {_kind(key)}")
    return container[key] if -len(container) <= key < len(container) else None


_ARITHMETIC: dict[type[ast.AST], Callable[[Any, Any], Any]] = {
    ast.Add: _add,
    ast.Sub: _on_numbers(operator.sub),
    ast.Mult: _multiply,
    ast.Div: _on_numbers(operator.truediv),
    ast.FloorDiv: _on_numbers(operator.floordiv),
    ast.Mod: _on_numbers(operator.mod),
}
_COMPARISONS: dict[type[ast.AST], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: _ordered(operator.lt),
    ast.LtE: _ordered(operator.le),
    ast.Gt: _ordered(operator.gt),
    ast.GtE: _ordered(operator.ge),
    ast.In: lambda item, container: _contains(container, item),
    ast.NotIn: lambda item, container: not _contains(container, item),
}
_OPERATORS: frozenset[type[ast.AST]] = frozenset({*_ARITHMETIC, *_COMPARISONS, ast.And, ast.Or, ast.Not, ast.USub})


# ----------------------------------------------------------------------------------------------------- functions

_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_NUMBER = re.compile(
    r"(?P<sign>[+-]?)(?:\d{1,30}(?P<fraction>\.\d{0,30})?|\.\d{1,30})(?P<power>[eE][+-]?\d{1,4})?", re.A
)


def _text(value: Any, limit: int = MAX_RESULT) -> str:
    """A value as text: None as nothing, other values than texts as compact JSON."""
    if value is None:
        return ""
    pieces, length = [], 0
    for piece in [value] if isinstance(value, str) else _JSON.iterencode(value):
        length += len(piece)
        if length > limit:
            raise OverflowError
        pieces.append(piece)
    return "".join(pieces)


def _read_number(value: Any) -> int | float | None:
    """A number as it is, a text as the number that it spells, everything else as None."""
    if not isinstance(value, str):
        return value if _is_number(value) else None
    if not (found := _NUMBER.fullmatch(value.strip())):
        return None
    number = float(found[0]) if "." in found[0] or found["power"] else int(found[0])
    return number if _fits(number) else None


def _size(value: Any) -> int:
    if not isinstance(value, str | list | dict):
        raise TypeError(f"{_kind(value)} has no length")
    return len(value)


def _round(value: Any, digits: Any = None) -> Any:
    if digits is not None and (not isinstance(digits, int) or isinstance(digits, bool) or not 0 <= digits <= 15):
        raise ValueError("a number is rounded to 0 to 15 digits")
    return _bounded(round(_number(value), digits))


def _extreme(pick: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    """Of the arguments, or of one list; None of an empty one."""

    def extreme(*values: Any) -> Any:
        found = values[0] if len(values) == 1 and isinstance(values[0], list) else [*values]
        if not _comparable(found):
            raise TypeError("only numbers, or only texts, have an order")
        return pick(found) if found else None

    return extreme


def _join(items: Any, separator: Any = ", ") -> str:
    if not isinstance(items, list):
        raise TypeError(f"a list is needed here, not {_kind(items)}")
    pieces, length = [], -len(_string(separator))
    for item in items:
        pieces.append(_text(item))
        length += len(pieces[-1]) + len(separator)
        if length > MAX_RESULT:
            raise OverflowError
    return str(separator.join(pieces))


def _changed(change: Callable[[str], str]) -> Callable[[Any], str]:
    """A text made of another one, which may be as long as that one was."""

    def changed(text: Any) -> str:
        made = change(_string(text))
        if len(made) > max(MAX_RESULT, len(text)):
            raise OverflowError
        return made

    return changed


class Function(NamedTuple):
    """What a function does, and how many arguments it takes at least and at most."""

    call: Callable[..., Any]
    least: int
    most: int


FUNCTIONS: dict[str, Function] = {
    "len": Function(_size, 1, 1),
    "lower": Function(_changed(str.lower), 1, 1),
    "upper": Function(_changed(str.upper), 1, 1),
    "strip": Function(_changed(str.strip), 1, 1),
    "contains": Function(_contains, 2, 2),
    "startswith": Function(lambda text, start: _string(text).startswith(_string(start)), 2, 2),
    "endswith": Function(lambda text, end: _string(text).endswith(_string(end)), 2, 2),
    "number": Function(_read_number, 1, 1),
    "text": Function(_text, 1, 1),
    "round": Function(_round, 1, 2),
    "min": Function(_extreme(min), 1, MAX_NODES),
    "max": Function(_extreme(max), 1, MAX_NODES),
    "abs": Function(lambda number: _bounded(abs(_number(number))), 1, 1),
    "default": Function(lambda value, instead: instead if value is None or value == "" else value, 2, 2),
    "join": Function(_join, 1, 2),
    "words": Function(lambda text: len(_string(text).split()), 1, 1),
}
"""`words` counts words; `contains` is `in`; `default` replaces None and the empty text; `join` puts `", "` between."""
