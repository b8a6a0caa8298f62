"""What clients may send: what a declaration shows is what is accepted."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from antiphon.api.dialects.base import Dialect, Stream
from antiphon.api.dialects.words import (
    NAME_LIMIT,
    ClientMessage,
    ClientResume,
    Id,
    Name,
    Names,
    Place,
    Received,
    first,
    read_body,
    read_name,
)
from antiphon.api.problems import Problem
from tests.api.dialects.table import TABLE

WORDS = [(dialect, word) for dialect in TABLE.values() for word in dialect.asks]
BODIES = [
    (dialect, door.body)
    for dialect in TABLE.values()
    for door in dialect.doors
    if isinstance(door, Stream)
]
STRICTER = {"resume takes either run_id or thread_id."}
"""What a declaration cannot say."""


def schema_of(kind: Any) -> dict[str, Any]:
    """The schema of a class, without references."""
    schema = msgspec.json.schema(kind)
    definitions = schema.pop("$defs", {})

    def resolved(part: Any) -> Any:
        if isinstance(part, list):
            return [resolved(inner) for inner in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            target = definitions[part["$ref"].rpartition("/")[2]]
            return resolved(target | {key: value for key, value in part.items() if key != "$ref"})
        return {key: resolved(value) for key, value in part.items()}

    whole: dict[str, Any] = resolved(schema)
    return whole


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)


def fitting(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that fit a schema of ours."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "anyOf" in schema and "properties" not in schema:
        return st.one_of(*map(fitting, schema["anyOf"]))
    match schema.get("type"):
        case "object" if "properties" in schema:
            return fitting_object(schema)
        case "object":
            inner = schema.get("additionalProperties")
            return st.dictionaries(
                st.text(max_size=3), fitting(inner) if inner else anything, max_size=3
            )
        case "array":
            inner = schema.get("items", {})
            return st.lists(
                fitting(inner) if inner else anything, max_size=schema.get("maxItems", 3)
            )
        case "string":
            size = schema.get("minLength", 0), schema.get("maxLength", 9)
            words = st.text(
                st.characters(exclude_characters="\0", codec="utf-8"),
                min_size=size[0],
                max_size=size[1],
            )
            return (
                words.map(lambda text: text or "x") if "\\s" in schema.get("pattern", "") else words
            )
        case "integer":
            return st.integers(schema.get("minimum"), schema.get("maximum"))
        case "number":
            return st.integers(0, 2**53 - 1) | st.floats(0, 2**50)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
    return anything


def fitting_object(schema: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    fields = {name: fitting(field) for name, field in schema["properties"].items()}
    needed = set(schema.get("required", ()))
    choices = [set(choice["required"]) for choice in schema.get("anyOf", ())] or [set()]

    def chosen(more: set[str]) -> st.SearchStrategy[dict[str, Any]]:
        texts = {name: st.text("abc", min_size=1) for name in more}
        must = {name: one for name, one in fields.items() if name in needed} | texts
        return st.fixed_dictionaries(
            must, optional={n: s for n, s in fields.items() if n not in must}
        )

    return st.sampled_from(choices).flatmap(chosen)


def refusal(dialect: Dialect, frame: dict[str, Any]) -> Problem | None:
    try:
        dialect.read(frame)
    except Problem as problem:
        return problem
    return None


def named(pair: Any) -> str:
    return f"{pair[0].name}-{getattr(pair[1], '__name__', 'body')}"


@pytest.mark.parametrize("pair", WORDS, ids=named)
def test_what_a_declaration_accepts_is_accepted(pair: tuple[Dialect, type[Received]]) -> None:
    dialect, word = pair

    @given(fitting(schema_of(word)))
    @settings(max_examples=30)
    def check(frame: dict[str, Any]) -> None:
        problem = refusal(dialect, frame)
        assert problem is None or problem.message in STRICTER, (frame, problem)

    check()


@pytest.mark.parametrize("pair", WORDS, ids=named)
def test_what_a_declaration_refuses_is_refused(pair: tuple[Dialect, type[Received]]) -> None:
    """One field is something else, or is missing."""
    dialect, word = pair
    schema = schema_of(word)
    validator = Draft202012Validator(schema)
    fields = [name for name in schema["properties"] if name != "type"]

    @given(fitting(schema), st.sampled_from(fields or [""]), anything)
    @settings(max_examples=30)
    def check(frame: dict[str, Any], field: str, value: Any) -> None:
        other = {**frame, field: value} if field else frame
        less = {name: one for name, one in frame.items() if name != field}
        for changed in (other, less):
            if validator.is_valid(changed) or lenient(dialect, word, changed):
                continue
            problem = refusal(dialect, changed)
            assert problem is not None, changed
            assert problem.code in {"BAD_REQUEST", "EMPTY_MESSAGE", "UNKNOWN_TYPE"}

    check()


def lenient(dialect: Dialect, word: type[Received], frame: dict[str, Any]) -> bool:
    """Whether another word is meant, or `Engine.accept` decides, by codes of its own."""
    return dialect.named(frame) != frame or Draft202012Validator(loose(schema_of(word))).is_valid(
        frame
    )


def loose(schema: Any) -> Any:
    """A schema that takes a message without words, and any mode."""
    if isinstance(schema, list):
        return [loose(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    skipped = set()
    if "\\s" in str(schema.get("pattern", "")):
        skipped = {"pattern", "maxLength"}
    elif "debate" in schema.get("enum", ()):
        skipped = {"enum"}
    elif any("required" in choice for choice in schema.get("anyOf", ())):
        skipped = {"anyOf"}
    return {key: loose(value) for key, value in schema.items() if key not in skipped}


@pytest.mark.parametrize("pair", BODIES, ids=named)
def test_a_frame_of_a_message_has_the_fields_of_the_body(pair: tuple[Dialect, Any]) -> None:
    """A vocabulary with both transports declares its message once."""
    dialect, body = pair
    kind = getattr(body, "__origin__", body)
    messages = [word for word in dialect.asks if issubclass(word, ClientMessage)]
    assert not messages or any(issubclass(word, kind) for word in messages)


@pytest.mark.parametrize(
    "dialect", [one for one in TABLE.values() if one.asks], ids=lambda one: one.name
)
def test_a_missing_message_is_an_empty_one(dialect: Dialect) -> None:
    for frame in ({"type": "message"}, {"type": "message", "message": None}):
        problem = refusal(dialect, frame)
        assert problem is None or problem.code == "EMPTY_MESSAGE"


@pytest.mark.parametrize("pair", BODIES, ids=named)
@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "BAD_REQUEST"),
        (b"nonsense", "INVALID_JSON"),
        (b"[]", "BAD_REQUEST"),
        (b"[" * 100_000, "INVALID_JSON"),
        (b'{"message":"\xff","content":"\xff"}', "INVALID_JSON"),
    ],
)
def test_a_body_that_is_none_is_refused(pair: tuple[Dialect, Any], body: bytes, code: str) -> None:
    with pytest.raises(Problem) as refused:
        read_body(body, pair[1])
    assert refused.value.code in {code, "BAD_REQUEST"}


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        (
            {"type": "multi_agent_request", "request": {"context": {"session_id": 1}}},
            "request.context.session_id: expected",
        ),
        (
            {"type": "multi_agent_request", "request": {"supporting_agents": ["a", 1]}},
            "request.supporting_agents",
        ),
        ({"type": "resume"}, "Object missing required field `run_id`."),
        ({"type": "cancel", "run_id": "x" * 129}, "run_id: expected `str` of length <= 128."),
    ],
)
def test_a_refusal_names_the_field(frame: dict[str, Any], sentence: str) -> None:
    problem = refusal(TABLE["multi_agent"], frame)
    assert problem is not None
    assert problem.message.startswith(sentence)


@pytest.mark.parametrize("value", [1, True, [], {}, "x" * (NAME_LIMIT + 1), "a\0b"])
def test_a_name_is_a_short_text(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, Name)
    assert msgspec.convert("x" * NAME_LIMIT, Name)


@pytest.mark.parametrize("name", ["", "x" * (NAME_LIMIT + 1), "a\0b"])
def test_a_name_in_an_address_is_not_empty(name: str) -> None:
    with pytest.raises(Problem) as refused:
        read_name(name, "session_id")
    assert refused.value.code == "BAD_REQUEST"
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(name, Id)


@pytest.mark.parametrize("value", ["specs", [1], {}, ["a"] * 17, 5])
def test_a_list_of_names_holds_a_few_texts(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, Names)


@pytest.mark.parametrize("value", [-1, -0.01, 2**53, "1", True, [], {}])
def test_a_place_is_a_small_number(value: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, Place)


def test_a_place_has_two_names_and_a_missing_one_is_0() -> None:
    assert ClientResume(run_id="r").command() == ClientResume(run_id="r", last_seq=0).command()
    assert (
        ClientResume(run_id="r", after=7).command()
        == ClientResume(run_id="r", last_seq=7).command()
    )
    assert first(None, 0, 1) == 0
    assert first(None) is None
