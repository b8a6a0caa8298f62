"""Flows as text: JSON, and YAML for people and version control.

Text that is written here is read back identically. YAML is read from PyYAML's stream of events:
no tags, no anchors, no aliases, and only JSON's own types (YAML 1.2's core schema: `no` is a text,
`12:30` as well). The writer quotes by the same rules.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from antiphon.orchestrator.flows.definition import (
    DEPTH,
    SIZE,
    VALUES,
    FlowInvalid,
    FlowProblem,
    pointer,
)

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _CoreDumper(yaml.SafeDumper):
    """Writes without quotes only what the core schema reads as the same text."""

    # PyYAML keeps its resolvers here
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        """Write no aliases, not even for equal parts."""
        return True


_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OTHER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|<<|=")
"""What other readers take for numbers or more. It is written quoted, and refused without quotes."""
_OLD = re.compile(
    r"(?i:y|yes|n|no|on|off)|[-+]?\.?[0-9][0-9a-fx_.:+-]*|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*"
)
"""What readers of YAML 1.1 take for something else. It is written quoted, and read as a text."""

_PLAIN = {
    "null": _NULL,
    "bool": _BOOL,
    "int": _INT,
    "float": _FLOAT,
    "other": _OTHER,
    "old": _OLD,
}
for _tag, _pattern in _PLAIN.items():
    _whole = re.compile(rf"(?:{_pattern.pattern})\Z")
    _CoreDumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", _whole, None)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))


_CoreDumper.add_representer(str, _represent_text)


def _style(text: str) -> str | None:
    """Return how a text is written.

    Texts with line breaks that only YAML 1.1 knows are escaped; texts of several lines are written
    as a block, as people do; all others as the dumper chooses.
    """
    if re.search("[\x85\u2028\u2029]", text):
        return '"'
    is_block = "\n" in text and re.fullmatch(r"\S(?:[ -~\xa1-\ud7ff\n]*\S)?\n?", text)
    return "|" if is_block else None


def to_yaml(raw: Any) -> str:
    """Return a definition as YAML."""
    text: str = yaml.dump(raw, Dumper=_CoreDumper, allow_unicode=True, sort_keys=False, width=100)
    return text


def to_json(raw: Any) -> str:
    """Return a definition as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(raw), indent=2).decode() + "\n"


def from_text(text: str | bytes) -> Any:
    """Return the value of a text in JSON or YAML. Raises `FlowInvalid` with the line and column."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > SIZE:
        message = f"A flow has at most {SIZE} bytes."
        problem = FlowProblem(code="TOO_LARGE", message=message, line=1, column=1)
        raise FlowInvalid([problem])
    try:
        decoded = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _refused("This is not UTF-8.", line, 1) from None
    is_json = decoded.lstrip().startswith(("{", "["))
    return from_json(decoded) if is_json else from_yaml(decoded)


def located(text: str | bytes, problems: list[FlowProblem]) -> list[FlowProblem]:
    """Return problems with their lines and columns in a text, if it can be parsed."""
    decoded = text if isinstance(text, str) else text.decode("utf-8", "replace")
    try:
        marks = _Marks(decoded).positions
    except (yaml.YAMLError, RecursionError):
        return problems
    return [_located(problem, marks) for problem in problems]


def _located(problem: FlowProblem, marks: dict[str, tuple[int, int]]) -> FlowProblem:
    """Return a problem with the nearest place around it: a missing setting has none of its own."""
    path = problem.path
    while path and path not in marks:
        path = path.rpartition("/")[0]
    if problem.line is not None or path not in marks:
        return problem
    line, column = marks[path]
    return msgspec.structs.replace(problem, line=line, column=column)


class _Marks:
    """Positions of the values in a text, by JSON pointer. JSON is YAML enough for this."""

    def __init__(self, text: str) -> None:
        self.positions: dict[str, tuple[int, int]] = {}
        self._events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        for event in self._events:
            if isinstance(event, yaml.NodeEvent):
                self._value(event, "")

    def _value(self, event: Any, path: str) -> None:
        self.positions[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.SequenceStartEvent):
            index = 0
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                self._value(event, f"{path}/{index}")
                index += 1
        elif isinstance(event, yaml.MappingStartEvent):
            while not isinstance(event := next(self._events), yaml.MappingEndEvent):
                self._value(next(self._events), f"{path}/{pointer(event.value)}")


def from_json(text: str) -> Any:
    """Return the value of JSON. Raises `FlowInvalid`."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise _refused("This is not valid JSON.", *_json_position(text, str(error))) from None
    json.loads(text, object_pairs_hook=_once)
    return value


def _json_position(text: str, error: str) -> tuple[int, int]:
    """Return the line and column of msgspec's error; the end of the text if it is truncated."""
    byte = re.search(r"\(byte (\d+)\)|(truncated)", error)
    if byte is None:
        return 1, 1
    before = text.encode("utf-8", "replace")
    if byte[1]:
        before = before[: int(byte[1])]
    return before.count(b"\n") + 1, len(before) - before.rfind(b"\n")


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse duplicate keys, of which readers of JSON silently take the last."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise _refused(f"The key {twice[0][:64]!r} is there more than once.", 1, 1)


def from_yaml(text: str) -> Any:
    """Return the value of YAML. Raises `FlowInvalid`."""
    try:
        return _YamlReader(text).document()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise _refused("This is not valid YAML.", *place) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, FlowInvalid):
            raise
        raise _refused("This is not valid YAML.", 1, 1) from None


def _refused(message: str, line: int, column: int) -> FlowInvalid:
    return FlowInvalid([FlowProblem(code="BAD_TEXT", message=message, line=line, column=column)])


class _YamlReader:
    """Builds the value from the parser's events. Stops at the first one that is not allowed."""

    def __init__(self, text: str) -> None:
        self._events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        self._count = 0

    def document(self) -> Any:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                value = self._value(next(self._events), 0)
                self._end()
                return value
        return None

    def _end(self) -> None:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                raise self._wrong(event, "There is more than one document.")

    def _value(self, event: Any, depth: int) -> Any:
        self._count += 1
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._wrong(event, "Anchors and aliases are not allowed.")
        if event.tag is not None:
            raise self._wrong(event, "Tags are not allowed.")
        if self._count > VALUES or depth > DEPTH:
            raise self._wrong(event, f"At most {VALUES} values and {DEPTH} levels are allowed.")
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._list(depth)
        return self._object(depth)

    def _list(self, depth: int) -> list[Any]:
        items = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._value(event, depth + 1))
        return items

    def _object(self, depth: int) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, DEPTH) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise self._wrong(event, "A key must be a text.")
            if key in items:
                raise self._wrong(event, "This key is there already.")
            items[key] = self._value(next(self._events), depth + 1)
        return items

    def _scalar(self, event: Any) -> Any:
        text: str = event.value
        if not event.implicit[0]:  # quoted, or a block
            return text
        if _NULL.fullmatch(text):
            return None
        if _BOOL.fullmatch(text):
            return text.lower() == "true"
        if _INT.fullmatch(text) and len(text) <= 20:
            return int(text)
        if _FLOAT.fullmatch(text) and len(text) <= 40:
            return _finite(float(text), self._wrong(event, "This number is too large."))
        if _OTHER.fullmatch(text) or _FLOAT.fullmatch(text):
            raise self._wrong(event, "Put this in quotes: YAML readers disagree about it.")
        return text

    @staticmethod
    def _wrong(event: Any, message: str) -> FlowInvalid:
        return _refused(message, event.start_mark.line + 1, event.start_mark.column + 1)


def _finite(value: float, error: FlowInvalid) -> float:
    if value in (float("inf"), float("-inf")):
        raise error
    return value
