"""The language of flows: what it can do, what it refuses, and what is true of all inputs."""

from __future__ import annotations

import json
import math
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.orchestrator.flows.language.expressions import (
    FUNCTIONS,
    MAX_RENDERED,
    MAX_RESULT,
    ExpressionError,
    parse,
    parse_template,
)
from tests.orchestrator.support import UNHURRIED

VALUES: dict[str, Any] = {
    "question": "How much oil, please?",
    "score": 0.75,
    "count": 3,
    "tags": ["oil", "engine"],
    "route": {"primary": "specs", "parts": {"specs": "a"}, "empty": ""},
    "nothing": None,
    "yes": True,
    "text": "the name of a function is a name, too",
}
NAMES = tuple(VALUES)

# ---------------------------------------------------------------------------------- what it can say


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("0.5", 0.5),
        (".5e1", 5.0),
        ("1_000", 1000),
        ("1e-3", 0.001),
        ("'a' \"b\"", "ab"),
        (r'"\n\t\\\"\u00e9"', '\n\t\\"é'),
        ("True", True),
        ("None", None),
        ("score", 0.75),
        ("text", VALUES["text"]),
        ("  \n count\n + 1 ", 4),
        ("(count\n  > 2)", True),
        ("yes and count", 3),
        ("nothing or 'else'", "else"),
        ("nothing and 1 / 0", None),
        ("yes or 1 / 0", True),
        ("not nothing", True),
        ("1 == 1.0", True),
        ("question != 'x'", True),
        ("0 < score <= 1", True),
        ("2 < count > 9 > 1 / 0", False),
        ("'a' < 'b'", True),
        ("nothing or'x'", "x"),
        ('len("' + "'" * 3 + '")', 3),
        ("count >= 3", True),
        ("'oil' in question", True),
        ("'oil' in tags", True),
        ("'primary' in route", True),
        ("'x' not in tags", True),
        ("count in (1, 2, 3)", True),
        ("count + 1 - 2 * 3", -2),
        ("7 / 2", 3.5),
        ("7 // 2", 3),
        ("-7 % 3", 2),
        ("-count", -3),
        ("'a' + 'b'", "ab"),
        ("tags + ['x']", ["oil", "engine", "x"]),
        ("'ab' * 2", "abab"),
        ("2 * [0]", [0, 0]),
        ("'a' * -1", ""),
        ("'big' if count > 2 else 'small'", "big"),
        ("1 if yes else 1 / 0", 1),
        ("route['primary']", "specs"),
        ("route['par' + 'ts']['specs']", "a"),
        ("route['no']['such']['thing']", None),
        ("route[nothing]", None),
        ("route[1]", None),
        ("tags[0]", "oil"),
        ("tags[-1]", "engine"),
        ("tags[2]", None),
        ("tags[-3]", None),
        ("[1, (2, 'a'), []]", [1, [2, "a"], []]),
        ("()", []),
        ("len(question) + len(tags) + len(route)", 26),
        ("lower('ÀB') + upper('ß') + strip(' x ')", "àbSSx"),
        ("contains(question, 'oil') and contains(tags, 'oil') and contains(route, 'parts')", True),
        ("startswith(question, 'How') and endswith(question, '?')", True),
        ("number(' -12 ')", -12),
        ("number('1.50')", 1.5),
        ("number('1e3')", 1000.0),
        ("number(count)", 3),
        (
            "[number('1_0'), number(''), number('nan'), number('1e999'), number(yes), number([])]",
            [None] * 6,
        ),
        ("number('99999999999999999999')", None),
        (
            "text(nothing) + text(yes) + text(1.0) + text('x') + text(tags)",
            'true1.0x["oil","engine"]',
        ),
        ("[round(2.6), round(score, 1), round(5, 2)]", [3, 0.8, 5]),
        ("[min(2, 1), max(tags), min([]), max(1), max(1, 2.5, 2)]", [1, "oil", None, 1, 2.5]),
        ("abs(-2)", 2),
        (
            "[default(nothing, 1), default('', 2), default(0, 3), default(route['empty'], 4)]",
            [1, 2, 0, 4],
        ),
        ("join(tags)", "oil, engine"),
        ("join([1, None, yes, [2]], '-')", "1--true-[2]"),
        ("join([], '-')", ""),
        ("words(question)", 4),
        ("text(text)", VALUES["text"]),
    ],
)
def test_what_it_can_say(text: str, value: Any) -> None:
    result = parse(text, NAMES).evaluate(VALUES)
    assert result == value
    assert type(result) is type(value)


def test_every_function_is_tried_above() -> None:
    parameters = test_what_it_can_say.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert all(any(f"{name}(" in text for text, _ in parameters) for name in FUNCTIONS)


def test_an_expression_knows_the_names_it_reads() -> None:
    expression = parse("len(tags) > count or route['score'] and 'yes'", NAMES)
    assert expression.names == {"tags", "count", "route"}
    assert expression == parse(expression.text, NAMES)
    with pytest.raises(AttributeError):
        expression.text = "1"  # type: ignore[misc]


# ---------------------------------------------------------------------------------- what it refuses

HOSTILE = [
    ("", (1, 1)),
    (" \n ", (1, 1)),
    ("a.b", (1, 1)),
    ("route.primary", (1, 1)),
    ("question.__class__.__mro__", (1, 1)),
    ("().__class__.__bases__[0].__subclasses__()", (1, 1)),
    ("'{0.__class__}'.format(score)", (1, 1)),
    ("__import__('os').system('true')", (1, 1)),
    ("__import__('os')", (1, 1)),
    ("eval('1')", (1, 1)),
    ("open('/etc/passwd')", (1, 1)),
    ("getattr(route, 'x')", (1, 1)),
    ("1 +  unknown", (1, 6)),
    ("'é' + 'é' + unknown", (1, 13)),
    ("\n  1 +\n unknown", (3, 2)),
    ("len", (1, 1)),
    ("score()", (1, 1)),
    ("len(tags)(1)", (1, 1)),
    ("(lambda: 1)()", (1, 2)),
    ("lambda: 1", (1, 1)),
    ("[x for x in tags]", (1, 1)),
    ("{x for x in tags}", (1, 1)),
    ("{1: x for x in tags}", (1, 1)),
    ("len(x for x in tags)", (1, 4)),
    ("(x := 1)", (1, 2)),
    ("x := 1", (1, 3)),
    ("f'{score}'", (1, 1)),
    ("f'{score!r:>{count}}'", (1, 1)),
    ("[*tags]", (1, 2)),
    ("max(*tags)", (1, 5)),
    ("max(**route)", (1, 7)),
    ("round(score, ndigits=1)", (1, 22)),
    ("tags[0:1]", (1, 6)),
    ("tags[:]", (1, 6)),
    ("tags[...]", (1, 6)),
    ("...", (1, 1)),
    ("await score", (1, 1)),
    ("(yield)", (1, 2)),
    ("(yield from tags)", (1, 2)),
    ("tags @ tags", (1, 1)),
    ("2 ** 9", (1, 1)),
    ("9**9**9**9", (1, 1)),
    ("1 << 99999", (1, 1)),
    ("1 | 2", (1, 1)),
    ("1 & 2", (1, 1)),
    ("1 ^ 2", (1, 1)),
    ("~1", (1, 1)),
    ("+1", (1, 1)),
    ("b'bytes'", (1, 1)),
    ("1 + r'raw'", (1, 5)),
    ("u'a'", (1, 1)),
    ("Rb'a'", (1, 1)),
    ("'''a'''", (1, 1)),
    ('yes or """a"""', (1, 8)),
    ("1j", (1, 1)),
    ("0x10", (1, 1)),
    ("1if yes else 2", (1, 1)),
    ("yes and 0or 1", (1, 9)),
    ("1e999", (1, 1)),
    ("9" * 400, (1, 1)),
    (str(2**63), (1, 1)),
    ("{}", (1, 1)),
    ("{'a': 1}", (1, 1)),
    ("{1, 2}", (1, 1)),
    ("score is None", (1, 1)),
    ("score is not None", (1, 1)),
    ("len()", (1, 1)),
    ("len(tags, tags)", (1, 1)),
    ("join(tags, '', '')", (1, 1)),
    ("round()", (1, 1)),
    ("max()", (1, 1)),
    (r"'\d'", (1, 2)),
    (r"'\x00'", (1, 2)),
    (r"'\N{BULLET}'", (1, 2)),
    (r"'\ud800'", (1, 1)),
    (r"'\u0000'", (1, 1)),
    (r"'\u12'", (1, 2)),
    ("1 \\\n + 1", (1, 3)),
    ("'a\x00'", (1, 3)),
    ("'\ud800'", (1, 2)),
    ("1 # comment", (1, 3)),
    ("import os", (1, 1)),
    ("score = 1", (1, 7)),
    ("score; score", (1, 6)),
    ("pass", (1, 1)),
    ("1 +", (1, 3)),
    ("1 +\n ", (1, 3)),
    ("(1 or\n", (1, 1)),
    ("(1", (1, 1)),
    ("1)", (1, 2)),
    ("'open", (1, 1)),
    ("score score", (1, 7)),
    ("if score: 1", (1, 1)),
    ("1\u00a0+ 1", (1, 2)),
    ("(" * 250 + ")" * 250, (1, 21)),
    ("[" * 500, (1, 21)),
    ("{" * 500, (1, 21)),
    ("(((((" * 4 + "1" + ")" * 19, (1, 1)),
    ("-" * 499 + "1", (1, 21)),
    ("not " * 120 + "yes", (1, 81)),
    ("tags" + "[0]" * 100, (1, 1)),
    ("1" + " + 1" * 100, (1, 1)),
    ("[" + "0," * 120 + "]", (1, 200)),
    ("yes if " * 60, (1, 1)),
    ("1" * 501, (1, 501)),
    ("'" * 100_000, (1, 501)),
]


@pytest.mark.parametrize(
    ("text", "position"), HOSTILE, ids=[repr(text[:30]) for text, _ in HOSTILE]
)
def test_what_it_refuses_and_where(text: str, position: tuple[int, int]) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse(text, NAMES)
    assert refused.value.position == position
    assert refused.value.message
    assert (
        str(refused.value) == f"{refused.value.message} (line {position[0]}, column {position[1]})"
    )


def test_refusing_costs_nothing() -> None:
    started = time.perf_counter()
    for text, _ in HOSTILE:
        with pytest.raises(ExpressionError):
            parse(text, NAMES)
    assert time.perf_counter() - started < len(HOSTILE) * 0.02


def test_hints_name_what_there_is() -> None:
    with pytest.raises(
        ExpressionError, match="there is no name 'scroe' here; there are count, nothing"
    ):
        parse("scroe", NAMES)
    with pytest.raises(ExpressionError, match="there is no name 'a' here "):
        parse("a", ())
    with pytest.raises(ExpressionError, match=r"round\(\) takes 1 or 2 arguments, not 3"):
        parse("round(1, 2, 3)", ())


LATE = [
    ("1 + missing", (1, 5), "'missing' has no value"),
    ("1 / 0", (1, 1), "this divides by zero"),
    ("yes and (\n 1 // 0.0)", (2, 2), "this divides by zero"),
    ("1 % (count - 3)", (1, 1), "this divides by zero"),
    ("1 + 'a'", (1, 1), "+ does not join a number and a text; text() makes a text of a value"),
    ("yes + 1", (1, 1), "+ does not join a boolean and a number; text() makes a text of a value"),
    ("tags - 1", (1, 1), "a number is needed here, not a list"),
    ("'%s' % tags", (1, 1), "a number is needed here, not a text"),
    ("'a' * 'b'", (1, 1), "a text is repeated by a whole number, not by a text"),
    ("'a' * 0.5", (1, 1), "a text is repeated by a whole number, not by a number"),
    ("-question", (1, 1), "a number is needed here, not a text"),
    ("1 < 'a'", (1, 1), "a number and a text have no order"),
    ("nothing < 1", (1, 1), "None and a number have no order"),
    ("tags < tags", (1, 1), "a list and a list have no order"),
    ("1 in 'a'", (1, 1), "a text is needed here, not a number"),
    ("1 in 2", (1, 1), "nothing is in a number"),
    ("tags in route", (1, 1), "a list is no key"),
    ("route[tags]", (1, 1), "a list is no key"),
    ("question[0]", (1, 1), "a text has no items"),
    ("tags['a']", (1, 1), "the items of a list have whole numbers, not a text"),
    ("tags[True]", (1, 1), "the items of a list have whole numbers, not a boolean"),
    ("tags[0, 1]", (1, 1), "the items of a list have whole numbers, not a list"),
    ("len(1)", (1, 1), "a number has no length"),
    ("words(nothing)", (1, 1), "a text is needed here, not None"),
    ("join(question)", (1, 1), "a list is needed here, not a text"),
    ("join(tags, 1)", (1, 1), "a text is needed here, not a number"),
    ("min(1, 'a')", (1, 1), "only numbers, or only texts, have an order"),
    ("round(1, -1000000000)", (1, 1), "a number is rounded to 0 to 15 digits"),
    ("round(1e300)", (1, 1), "the result is too large"),
    ("9223372036854775807 + 1", (1, 1), "the result is too large"),
    ("9223372036854775807 * 9223372036854775807", (1, 1), "the result is too large"),
    ("1e308 * 10", (1, 1), "the result is too large"),
    ("'a' * 10001", (1, 1), "the result is too large"),
    ("'a' * 9223372036854775807", (1, 1), "the result is too large"),
    ("[0] * 10001", (1, 1), "the result is too large"),
    ("[[0] * 5000] * 5000", (1, 1), "the result is too large"),
    ("['a' * 5000] * 5000", (1, 1), "the result is too large"),
    ("'a' * 9999 + 'bc'", (1, 1), "the result is too large"),
    ("upper('ß' * 9000)", (1, 1), "the result is too large"),
    ("join(['a' * 5000, 'b' * 5000])", (1, 1), "the result is too large"),
    ("text(['a' * 9999])", (1, 1), "the result is too large"),
]


@pytest.mark.parametrize(("text", "position", "message"), LATE, ids=[text for text, _, _ in LATE])
def test_what_shows_only_when_running(text: str, position: tuple[int, int], message: str) -> None:
    expression = parse(text, [*NAMES, "missing"])
    with pytest.raises(ExpressionError) as failed:
        expression.evaluate(VALUES)
    assert (failed.value.position, failed.value.message) == (position, message)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "text",
    ["a == b", "text(a)", "a in [b]", "round(n)", "text(n)", "n * 1.5", "text(nan)", "round(nan)"],
)
def test_values_at_the_edge_of_json_are_errors_too(text: str) -> None:
    values = {"a": nested(100_000), "b": nested(100_000), "n": 10**5000, "nan": math.nan}
    with pytest.raises(ExpressionError):
        parse(text, values).evaluate(values)


def test_what_it_is_given_may_be_longer_than_what_it_makes() -> None:
    values = {"document": "word " * 200_000, "numbers": list(range(100_000))}
    assert parse("document", values).evaluate(values) is values["document"]
    assert parse("words(document) + max(numbers)", values).evaluate(values) == 299_999
    assert parse("strip(document)", values).evaluate(values) == values["document"].strip()
    with pytest.raises(ExpressionError, match="too large"):
        parse("document + document", values).evaluate(values)


# ---------------------------------------------------------------------------------------- templates


@pytest.mark.parametrize(
    ("text", "rendered"),
    [
        ("", ""),
        ("no placeholder } }} {", "no placeholder } }} {"),
        ("{{question}}", VALUES["question"]),
        (
            "Tags: {{ join(tags) }}, {{ count }} of them.\n{{ nothing }}",
            "Tags: oil, engine, 3 of them.\n",
        ),
        ("{{ yes }} {{ not yes }} {{ score }} {{ 1.0 }}", "true false 0.75 1.0"),
        (
            "{{ tags }}{{ route['parts'] }}{{ ['é\"', None] }}",
            '["oil","engine"]{"specs":"a"}["é\\"",null]',
        ),
        ("{{ count\n + 1 }}}", "4}"),
        ('{{ "{" }}{', "{{"),
    ],
)
def test_a_template_renders(text: str, rendered: str) -> None:
    assert parse_template(text, NAMES).render(VALUES) == rendered


def test_a_template_knows_its_names() -> None:
    template = parse_template("{{ count + score }} {{ len(tags) }} {{ count }} question", NAMES)
    assert template.names == {"count", "score", "tags"}
    assert template == parse_template(template.text, NAMES)


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("{{", (1, 1)),
        (" {{", (1, 2)),
        ("a\nb {{ count", (2, 3)),
        ("{{}}", (1, 3)),
        ("{{{{ count }}}}", (1, 4)),
        ("{{ count {{ count }}", (1, 11)),
        ("é {{ unknown }}", (1, 6)),
        ("a\n\n  {{ unknown }}", (3, 6)),
        ("a\n{{ 1 +\n  unknown }}", (3, 3)),
        ("{% if count %}{{ count.real }}", (1, 18)),
        ("{{ '}}' }}", (1, 4)),
        ("{{ 1 }}" * 51, (1, 351)),
        ("\n" * 10 + "x" * 20_000, (11, 19_991)),
        ("{{" * 10_000, (1, 1)),
    ],
)
def test_a_template_is_refused_with_a_position_inside_it(
    text: str, position: tuple[int, int]
) -> None:
    with pytest.raises(ExpressionError) as refused:
        parse_template(text, NAMES)
    assert refused.value.position == position


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("ok\n {{ 1 / 0 }}", (2, 5)),
        ("ok\n {{ 1 +\n missing }}", (3, 2)),
        ("{{ 1 }} {{ nan }}", (1, 11)),
        ("{{ long }}{{ long }}", (1, 13)),
        ("{{ [long, long] }}", (1, 3)),
    ],
)
def test_a_template_that_cannot_be_rendered_has_a_position(
    text: str, position: tuple[int, int]
) -> None:
    values = {"nan": math.nan, "long": "x" * 30_000}
    with pytest.raises(ExpressionError) as failed:
        parse_template(text, [*values, "missing"]).render(values)
    assert failed.value.position == position


def test_fifty_placeholders_are_fine() -> None:
    assert parse_template("{{ 1 }}-" * 50, ()).render({}) == "1-" * 50


# ----------------------------------------------------------------------------- rules for all inputs

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0, -1, 2**63 - 1, 10**40, 1e308, "", "a", "1e3"])
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["a", "b"]) | st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)
FREE = ("a", "b", "c")

WORDS = """a b c 0 1 2.5 'a' " ' ( ) [ ] { } , : . + - * / // % ** == < in not and or if else is
lambda for len( text( max( f' # @ := ... é {{ }} 1if"""
PIECES = st.lists(st.sampled_from([*WORDS.split(), "\\", "\x00", "\n"]), max_size=30).map(" ".join)

BINARY = [
    "+",
    "-",
    "*",
    "/",
    "//",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "not in",
    "and",
    "or",
]


def calls(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def call(name: str) -> st.SearchStrategy[str]:
        function = FUNCTIONS[name]
        arguments = st.lists(inner, min_size=function.least, max_size=min(function.most, 3))
        return arguments.map(lambda found: f"{name}({', '.join(found)})")

    return st.sampled_from(sorted(FUNCTIONS)).flatmap(call)


WELL_FORMED = st.recursive(
    st.sampled_from(
        [
            "a",
            "b",
            "c",
            "0",
            "1",
            "-1",
            "2.5",
            "1e300",
            "9223372036854775807",
            "'a'",
            "''",
            "None",
            "True",
            "[]",
        ]
    ),
    lambda inner: (
        st.tuples(inner, st.sampled_from(BINARY), inner).map(
            lambda found: "({} {} {})".format(*found)
        )
        | st.tuples(inner, inner).map(lambda found: "{}[{}]".format(*found))
        | st.tuples(inner, inner, inner).map(lambda found: "({} if {} else {})".format(*found))
        | st.tuples(inner, inner, inner).map(lambda found: "({} < {} == {})".format(*found))
        | st.lists(inner, max_size=3).map(lambda found: f"[{', '.join(found)}]")
        | inner.map(lambda found: f"(-{found})")
        | inner.map(lambda found: f"(not {found})")
        | calls(inner)
    ),
    max_leaves=12,
)


def inside(position: tuple[int, int], text: str) -> bool:
    """Whether a position is one of the text's (the first one is, of every text)."""
    line, column = position
    lines = text.split("\n")
    return 1 <= line <= len(lines) and 1 <= column <= len(lines[line - 1]) + 1


@UNHURRIED
@given(st.text() | PIECES, st.fixed_dictionaries(dict.fromkeys(FREE, JSON)))
@example("\ufeffa", {"a": 1})
@example("ａ", {"a": 1})
@example("'''\n'''", {})
@example("a\x0c", {"a": 1})
@example("\r\na", {"a": 1})
def test_any_text_is_an_expression_or_refused(text: str, values: dict[str, Any]) -> None:
    try:
        parse(text, FREE).evaluate(values)
    except ExpressionError as error:
        assert inside(error.position, text)


@UNHURRIED
@given(WELL_FORMED, st.fixed_dictionaries(dict.fromkeys(FREE, JSON)))
def test_any_expression_over_any_values_is_json_or_an_error(
    text: str, values: dict[str, Any]
) -> None:
    before = json.dumps(values)
    try:
        expression = parse(text, FREE)
        assert expression.names <= set(FREE)
        value = expression.evaluate({name: values[name] for name in expression.names})
    except ExpressionError as error:
        assert inside(error.position, text)
    else:
        assert json.loads(json.dumps(value, allow_nan=False)) == value
        assert not isinstance(value, str) or len(value) <= MAX_RESULT
    assert json.dumps(values) == before


@UNHURRIED
@given(
    st.lists(st.text() | (WELL_FORMED | PIECES).map(lambda text: f"{{{{ {text} }}}}")),
    st.fixed_dictionaries(dict.fromkeys(FREE, JSON)),
)
def test_any_template_renders_or_is_an_error(pieces: list[str], values: dict[str, Any]) -> None:
    text = "".join(pieces)
    try:
        assert len(parse_template(text, FREE).render(values)) <= MAX_RENDERED
    except ExpressionError as error:
        assert inside(error.position, text)


@UNHURRIED
@given(st.text().filter(lambda text: "{{" not in text))
def test_a_text_without_placeholders_is_left_alone(text: str) -> None:
    assert parse_template(text, ()).render({}) == text


@UNHURRIED
@given(st.integers(1 - 2**63, 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_written_as_text_is_read_back(value: float) -> None:
    assert parse("number(text(a))", ("a",)).evaluate({"a": value}) == value
