"""Flows as text: JSON, and YAML for people and version control. What is written is read back identically.

YAML is read from PyYAML's stream of events: no tags, no anchors, no aliases, and only JSON's own types (YAML 1.2's core
schema: `no` is a text, `12:30` as well). The writer quotes by the same rules, so nothing changes on the way.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from antiphon.orchestrator.flows.definition import DEPTH, SIZE, VALUES, FlowInvalid, FlowProblem, pointer

_PARSER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _CoreDumper(yaml.SafeDumper):
    """Writes plain only what the core schema reads as the same text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own place

    def ignore_aliases(self, data: Any) -> bool:
        """A definition has none, not even for equal parts."""
        return True


_NULL = re.compile(r"null|Null|NULL|~|")
_BOOL = re.compile(r"true|True|TRUE|false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_OTHER = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)|<<|=")
"""What other readers take for numbers or more; we quote it, and refuse it where it stands plain."""
_OLD = re.compile(r"(?i:y|yes|n|no|on|off)|[-+]?\.?[0-9][0-9a-fx_.:+-]*|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*")
"""What readers of YAML 1.1 take for something else, or nearly; we quote it, and take it for a text."""

_PLAIN = {"null": _NULL, "bool": _BOOL, "int": _INT, "float": _FLOAT, "other": _OTHER, "old": _OLD}
for _tag, _pattern in _PLAIN.items():
    _CoreDumper.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_pattern.pattern})\Z"), None)
_CoreDumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style=_style(text))
)


def _style(text: str) -> str | None:
    """How a text is written: in escapes where it has line breaks that only YAML 1.1 knows, as a block where that is
    how people write it, else as the dumper likes.
    """
    if re.search("[\x85\u2028\u2029]", text):
        return '"'
    return "|" if "\n" in text and re.fullmatch(r"\S(?:[ -~\xa1-\ud7ff\n]*\S)?\n?", text) else None


def to_yaml(raw: Any) -> str:
    """A definition as YAML."""
    text: str = yaml.dump(raw, Dumper=_CoreDumper, allow_unicode=True, sort_keys=False, width=100)
    return text


def to_json(raw: Any) -> str:
    """A definition as JSON for people."""
    return msgspec.json.format(msgspec.json.encode(raw), indent=2).decode() + "\n"


def from_text(text: str | bytes) -> Any:
    """The value of a definition as text, JSON or YAML. Raises `FlowInvalid` with the line and column."""
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > SIZE:
        raise FlowInvalid(
            [FlowProblem(code="TOO_LARGE", message=f"A flow has at most {SIZE} bytes.", line=1, column=1)]
        )
    try:
        shown = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FlowInvalid([FlowProblem(code="BAD_TEXT", message="This is not UTF-8.", line=line, column=1)]) from None
    return from_json(shown) if shown.lstrip().startswith(("{", "[")) else from_yaml(shown)


def located(text: str | bytes, problems: list[FlowProblem]) -> list[FlowProblem]:
    """Problems of a definition with their lines and columns in its text, where the text can be followed."""
    shown = text if isinstance(text, str) else text.decode("utf-8", "replace")
    try:
        marks = _Marks(shown).found
    except (yaml.YAMLError, RecursionError):
        return problems
    return [_located(one, marks) for one in problems]


def _located(problem: FlowProblem, marks: dict[str, tuple[int, int]]) -> FlowProblem:
    """The nearest place around what is wrong: a setting that is missing has none of its own."""
    path = problem.path
    while path and path not in marks:
        path = path.rpartition("/")[0]
    if problem.line is not None or path not in marks:
        return problem
    line, column = marks[path]
    return msgspec.structs.replace(problem, line=line, column=column)


class _Marks:
    """Where each value of a text stands, by its JSON pointer; JSON is YAML enough for this."""

    def __init__(self, text: str) -> None:
        self.found: dict[str, tuple[int, int]] = {}
        self._events: Iterator[Any] = yaml.parse(text, Loader=_PARSER)
        for event in self._events:
            if isinstance(event, yaml.NodeEvent):
                self._value(event, "")

    def _value(self, event: Any, path: str) -> None:
        self.found[path] = (event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.SequenceStartEvent):
            index = 0
            while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
                self._value(event, f"{path}/{index}")
                index += 1
        elif isinstance(event, yaml.MappingStartEvent):
            while not isinstance(event := next(self._events), yaml.MappingEndEvent):
                self._value(next(self._events), f"{path}/{pointer(event.value)}")


def from_json(text: str) -> Any:
    """The value of JSON. Raises `FlowInvalid`."""
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        byte = re.search(r"\(byte (\d+)\)|(truncated)", str(error))
        before = text.encode("utf-8", "replace")[: int(byte[1]) if byte and byte[1] else None] if byte else b""
        line, column = before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1
        raise _refused("This is not valid JSON.", line, column) from None
    json.loads(text, object_pairs_hook=_once)
    return value


def _once(pairs: list[tuple[str, Any]]) -> None:
    """Refuse keys that stand twice in an object of JSON, whose readers would take the last one without a word."""
    twice = [key for key, count in Counter(key for key, _ in pairs).items() if count > 1]
    if twice:
        raise _refused(f"The key {twice[0][:64]!r} is there more than once.", 1, 1)


def from_yaml(text: str) -> Any:
    """The value of YAML. Raises `FlowInvalid`."""
    try:
        return _Reader(text).document()
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


class _Reader:
    """Builds the value from the parser's events, and stops at the first thing that is not allowed."""

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
        return self._list(depth) if isinstance(event, yaml.SequenceStartEvent) else self._object(depth)

    def _list(self, depth: int) -> list[Any]:
        found = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            found.append(self._value(event, depth + 1))
        return found

    def _object(self, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._value(event, DEPTH) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                raise self._wrong(event, "A key must be a text.")
            if key in found:
                raise self._wrong(event, "This key is there already.")
            found[key] = self._value(next(self._events), depth + 1)
        return found

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
