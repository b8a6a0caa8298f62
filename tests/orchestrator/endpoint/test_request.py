from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.endpoint.request import (
    Capabilities,
    is_about_context,
    is_about_filter,
    joined,
    trimmed,
    without_limit,
)

PLAIN: dict[str, Any] = {"model": "m", "messages": [], "stream": True}
FULL: dict[str, Any] = {**PLAIN, "stream_options": {}, "max_completion_tokens": 9, "stop": ["x"]}


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (
            "Unrecognized request argument supplied: stream_options",
            {"max_completion_tokens", "stop"},
        ),
        (
            "[{'loc': ['body', 'stream_options'], 'msg': 'Extra inputs'}]",
            {"max_completion_tokens", "stop"},
        ),
        ("max_completion_tokens is not supported", {"max_tokens", "stream_options", "stop"}),
        (
            "Unsupported parameter: 'max_completion_tokens'. Use 'max_tokens' instead.",
            {"max_tokens", "stream_options", "stop"},
        ),
        ("'stop' is not supported with this model", {"max_completion_tokens", "stream_options"}),
        ("Unknown parameter", set()),
        ("extra fields not permitted", set()),
    ],
)
def test_what_an_endpoint_refuses_is_left_out_from_then_on(said: str, left: set[str]) -> None:
    accepted = Capabilities()
    assert accepted.learn(said, FULL)
    for payload in (FULL, {**FULL, "messages": [{"role": "user", "content": "again"}]}):
        assert set(accepted.fit(payload)) - set(PLAIN) == left


def test_a_limit_of_which_no_name_is_known_is_left_out() -> None:
    accepted = Capabilities()
    payload = {**PLAIN, "max_completion_tokens": 9}
    assert accepted.learn("unknown field max_completion_tokens", payload)
    assert accepted.learn("unknown field max_tokens", payload)
    assert accepted.fit(payload) == PLAIN
    assert not accepted.learn("unknown field max_tokens", payload), "nothing is left to leave out"


@pytest.mark.parametrize(
    "said", ["The request is invalid.", "I will stop here", "key sk-1 is unknown to node 7", ""]
)
def test_a_refusal_that_is_about_no_parameter_changes_nothing(said: str) -> None:
    accepted = Capabilities()
    assert not accepted.learn(said, FULL)
    assert accepted.fit(FULL) == FULL


def test_how_an_object_is_requested_is_never_left_out() -> None:
    payload = {**FULL, "extra_body": {"response_format": {"type": "json_object"}}}
    accepted = Capabilities()
    assert not accepted.learn("response_format is an unknown parameter", payload)
    assert accepted.fit(payload) == payload


def test_parameters_in_the_extra_body_are_fitted_as_well() -> None:
    accepted = Capabilities()
    payload = {**PLAIN, "extra_body": {"top_k": 4, "kept": 1}}
    assert accepted.learn("top_k: unknown field", payload)
    assert accepted.fit(payload)["extra_body"] == {"kept": 1}


def test_thoughts_go_back_only_to_endpoints_that_need_them() -> None:
    call = {"role": "assistant", "tool_calls": [{}], "reasoning_content": "hm"}
    payload = {**PLAIN, "messages": [call]}
    accepted = Capabilities()
    assert "reasoning_content" not in accepted.fit(payload)["messages"][0]
    assert accepted.learn("Missing `reasoning_content` field in the assistant message", payload)
    assert accepted.fit(payload)["messages"] == [call]


def test_neighbours_of_one_role_are_joined() -> None:
    tool = {"role": "tool", "content": "1", "tool_call_id": "a"}
    messages = [user("a"), user("b"), assistant("c"), assistant("d"), tool, tool, user("e")]
    assert joined(messages) == [user("a\n\nb"), assistant("c\n\nd"), tool, tool, user("e")]


@pytest.mark.parametrize(
    ("said", "context", "filtered"),
    [
        ("This model's maximum context length is 4096 tokens", True, False),
        ("code: context_length_exceeded", True, False),
        ("the request exceeds the available context size", True, False),
        ("prompt is too long: 210000 tokens > 200000 maximum", True, False),
        ("Please reduce the length of the messages", True, False),
        ("The response was filtered due to ... content management policy", False, True),
        ("code: content_filter", False, True),
        ("Unknown parameter: x", False, False),
    ],
)
def test_refusals_are_told_apart(said: str, context: bool, filtered: bool) -> None:
    assert (is_about_context(said), is_about_filter(said)) == (context, filtered)


roles = st.sampled_from(["user", "assistant", "tool", "system"])


@given(st.lists(roles, max_size=12))
def test_a_conversation_is_trimmed_to_one_that_endpoints_accept(talk: list[str]) -> None:
    messages = [{"role": role, "content": str(place)} for place, role in enumerate(talk)]
    shorter = trimmed(messages)
    if shorter is None:
        return
    assert len(shorter) < len(messages)
    assert [one for one in shorter if one["role"] == "system"] == [
        one for one in messages if one["role"] == "system"
    ]
    rest = [one for one in shorter if one["role"] != "system"]
    assert rest[0]["role"] == "user"
    assert rest == [one for one in messages if one["role"] != "system"][-len(rest) :]
    newest = [one for one in messages if one["role"] == "user"][-1]
    assert newest in rest


def test_trimming_ends() -> None:
    messages: list[dict[str, Any]] | None = [user(str(number)) for number in range(100)]
    rounds = 0
    while messages is not None:
        messages, rounds = trimmed(messages), rounds + 1
    assert rounds <= 8, "each round leaves out about a half"


def test_a_limit_can_be_left_out_once() -> None:
    assert without_limit(FULL) == {**PLAIN, "stream_options": {}, "stop": ["x"]}
    assert without_limit(PLAIN) is None


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}
