"""Flows as text: whatever is written is read back identically, and YAML's magic is refused."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.orchestrator.flows.definition import SIZE, VALUES, FlowInvalid, FlowProblem
from antiphon.orchestrator.flows.language.text import (
    from_json,
    from_text,
    from_yaml,
    located,
    to_json,
    to_yaml,
)
from tests.orchestrator.support import UNHURRIED

TREACHEROUS = [
    *(
        "1",
        "-1",
        "+1",
        "1.0",
        ".5",
        "5.",
        "1e3",
        "1_000",
        "0x1f",
        "0o17",
        "017",
        "0b11",
        "0x_1",
        "-0",
        "1.5_0",
        "1_0.5",
    ),
    *(
        "true",
        "True",
        "no",
        "NO",
        "y",
        "on",
        "off",
        "null",
        "~",
        "",
        "Null",
        ".inf",
        "-.INF",
        ".nan",
        "<<",
        "=",
        "*a",
        "&a",
    ),
    *(
        "2026-11-20",
        "2026-11-20T22:09:14Z",
        "2001-12-14 21:59:43.10 -5",
        "12:30",
        "190:20:30",
        "1:2:3.4",
        "!tag",
        "- a",
    ),
    *(
        " leading",
        "trailing ",
        "\ttab",
        "a: b",
        "a #b",
        "#",
        "|",
        ">",
        "---",
        "...",
        "%YAML",
        "{}",
        "[]",
        "'",
        '"',
        "\\n",
    ),
    *(
        "\u2028",
        "\u2029",
        "\x85",
        "a\x85b",
        "a\rb",
        "a\r\nb",
        "\r",
        "\n",
        "a\n",
        "a\n\n",
        "\na",
        "a\n b\n",
        "a\n\n\nb",
        " \n ",
    ),
    *(
        "emoji 🦊",
        "🦊\n🦊\n",
        "\ufeff",
        "\x7f",
        "\x07",
        "\xa0",
        "\ud7ff",
        "\ue000",
        "\uffff",
        "word " * 60,
        "x" * 300,
        "a\n\tb",
    ),
    *(
        "a \nb",
        "line\n  deeper\nback\n",
        "\xa0a\nb",
        "a\u2028\nb",
        "é" * 200,
        "a,b",
        "@",
        "`",
        "?",
        "? a",
        "-",
        ":",
        "a:",
    ),
]
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(
    TREACHEROUS
)
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63) + 1, 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 1e300, 5e-324, 1e16, 1e-7, 0.1])
    | texts
)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def same(left: Any, right: Any) -> bool:
    """Whether two JSON values are the same, to the type and the sign of zero."""
    if type(left) is not type(right):
        return False
    if isinstance(left, dict):
        return list(left) == list(right) and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right and (
        not isinstance(left, float) or math.copysign(1, left) == math.copysign(1, right)
    )


def problem_of(text: str | bytes) -> FlowProblem:
    with pytest.raises(FlowInvalid) as caught:
        from_text(text)
    [problem] = caught.value.problems
    return problem


# ----------------------------------------------------------------------------------- there and back


@UNHURRIED
@given(values)
@example(TREACHEROUS)
@example({text: text for text in TREACHEROUS})
@example({"": {"": [{}, [], ""]}})
def test_what_is_written_as_yaml_is_read_back_identically(value: Any) -> None:
    assert same(from_yaml(to_yaml(value)), value)


@UNHURRIED
@given(st.dictionaries(texts, values, max_size=4) | st.lists(values, max_size=4))
@example(TREACHEROUS)
def test_what_is_written_as_json_is_read_back_identically(value: Any) -> None:
    assert same(from_text(to_json(value)), value)
    assert same(from_json(json.dumps(value)), value)


@UNHURRIED
@given(
    st.dictionaries(
        texts.filter(lambda text: text not in ("<<", "=")), values, min_size=1, max_size=4
    )
)
@example({text: text for text in TREACHEROUS})
def test_a_definition_as_yaml_is_recognised_and_other_readers_read_the_same(value: Any) -> None:
    assert same(from_text(to_yaml(value)), value)
    assert same(yaml.safe_load(to_yaml(value)), value)


def test_texts_of_several_lines_are_written_as_blocks() -> None:
    assert to_yaml({"prompt": "First.\nSecond.\n"}) == "prompt: |\n  First.\n  Second.\n"


# ------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("12:30", "12:30"),
        ("2026-11-20", "2026-11-20"),
        ("1_000", "1_000"),
        ("017", 17),
        ("1e3", 1000.0),
        ("+.5", 0.5),
        ("'1'", "1"),
        ("|\n  1\n", "1\n"),
        ("~", None),
        ("", None),
        ("TRUE", True),
    ],
)
def test_plain_words_are_read_as_yaml_1_2_has_them(text: str, value: Any) -> None:
    assert same(from_yaml(f"a: {text}")["a"], value)


REFUSED = {
    "an anchor": ("a: &x 1", 1, 4),
    "an alias": ("a: 1\nb: *x", 2, 4),
    "an anchored key": ("&x a: 1", 1, 1),
    "a bomb of aliases": ("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]", 1, 4),
    "a tag": ("a: !!str 1", 1, 4),
    "a tag that would run code": ("a: !!python/object/apply:os.system [ls]", 1, 4),
    "a tagged key": ("!!str a: 1", 1, 1),
    "the tag that means no tag": ("a: ! 1", 1, 4),
    "a merge key": ("<<: {a: 1}", 1, 1),
    "a second document": ("a: 1\n---\nb: 2", 2, 1),
    "a duplicate key": ("a: 1\nb: 2\na: 3", 3, 1),
    "a duplicate key, quoted": ("a: 1\n'a': 3", 2, 1),
    "a duplicate key inside": ("x:\n  - a: 1\n    a: 1", 3, 5),
    "a number for a key": ("1: a", 1, 1),
    "nothing for a key": ("~: a", 1, 1),
    "a list for a key": ("? [a]\n: b", 1, 3),
    "an infinite number": ("a: .inf", 1, 4),
    "no number": ("a: .nan", 1, 4),
    "a number that is too large": ("a: 1e400", 1, 4),
    "an octal number": ("a: 0o17", 1, 4),
    "a hexadecimal number": ("a: 0x1f", 1, 4),
    "a number of many digits": (f"a: {'1' * 41}", 1, 4),
    "a tab for indentation": ("a:\n\tb: 1", 2, 1),
    "a quote without end": ("a: 'x\nb: 1", 2, 5),
    "too many levels": ("- " * 20 + "a", 1, 27),
    "too many values": ("a:\n" + "- 1\n" * VALUES, VALUES - 1, 3),
    "JSON that breaks off": ('{\n  "a": 1,', 2, 10),
    "JSON with a comma too many": ('{"a": 1,\n "b": 2,}', 2, 9),
    "JSON with a lone surrogate": ('{"a": "\\ud800"}', 1, 16),
    "JSON with a duplicate key": ('{"a": 1,\n "a": 2}', 1, 1),
    "JSON with a number that is too large": ('{"a": 1e400}', 1, 1),
    "JSON of many levels": ("[" * 5_000, 1, 1),
    "a NUL": ("a: \0", 1, 1),
    "bytes that are no text": (b"a: 1\nb: \xff", 2, 1),
    "a lone surrogate": ("a: 1\nb: \ud800", 2, 1),
    "too many bytes": ("a: " + "x" * SIZE, 1, 1),
}


@pytest.mark.parametrize(("text", "line", "column"), REFUSED.values(), ids=REFUSED)
def test_what_readers_disagree_about_is_refused_with_its_place(
    text: str | bytes, line: int, column: int
) -> None:
    problem = problem_of(text)
    assert problem.code in ("BAD_TEXT", "TOO_LARGE")
    assert (problem.line, problem.column) == (line, column)


@UNHURRIED
@given(st.text() | st.binary() | st.text("abc:-{}[]\n &*!'\"#|>?,0").map(str))
def test_any_text_is_a_value_or_is_refused_with_its_line(text: str | bytes) -> None:
    try:
        from_text(text)
    except FlowInvalid as invalid:
        assert all(problem.line for problem in invalid.problems)


# ------------------------------------------------------------------------------------------- places

FLOW = {
    "name": "x",
    "nodes": [{"id": "a", "type": "input"}, {"id": "b", "config": {"a/b": 1, "~": [1, {"": 2}]}}],
}


@pytest.mark.parametrize(
    ("path", "line", "column"),
    [
        ("", 1, 1),
        ("/name", 1, 7),
        ("/nodes", 3, 1),
        ("/nodes/0", 3, 3),
        ("/nodes/0/type", 4, 9),
        ("/nodes/1/config", 7, 5),
        ("/nodes/1/config/a~1b", 7, 10),
        ("/nodes/1/config/~0/1/", 11, 9),
        ("/nodes/1/config/prompt", 7, 5),  # what is missing has the place around it
        ("/edges/3", 1, 1),
    ],
)
def test_a_problem_has_the_place_of_its_value_in_yaml(path: str, line: int, column: int) -> None:
    [problem] = located(to_yaml(FLOW), [FlowProblem(code="X", message="x", path=path)])
    assert (problem.line, problem.column) == (line, column)


@pytest.mark.parametrize(
    ("indent", "path", "line", "column"),
    [
        ("  ", "/nodes/0/type", 6, 15),
        ("\t", "/nodes/0/type", 6, 12),
        ("  ", "/nodes/1", 8, 5),
        ("\t", "/nodes/1", 8, 3),
    ],
)
def test_a_problem_has_the_place_of_its_value_in_json(
    indent: str, path: str, line: int, column: int
) -> None:
    text = json.dumps(FLOW, indent=indent)
    [problem] = located(text.encode(), [FlowProblem(code="X", message="x", path=path)])
    assert (problem.line, problem.column) == (line, column)


def test_a_text_that_cannot_be_followed_leaves_problems_as_they_are() -> None:
    problems = [FlowProblem(code="X", message="x", path="/nodes")]
    assert located("a: 'x", problems) == problems
    assert located("[" * 5_000, problems) == problems


@UNHURRIED
@given(st.dictionaries(texts, values, min_size=1, max_size=3))
def test_every_value_of_what_we_write_has_a_place(value: dict[str, Any]) -> None:
    [problem] = located(to_yaml(value), [FlowProblem(code="X", message="x", path="/nothing/here")])
    assert (problem.line, problem.column) == (1, 1)
