"""How a request is checked, shown and compared, and that those of earlier versions are read."""

from __future__ import annotations

import msgspec
import pytest

from antiphon.orchestrator.profiles import Profile
from antiphon.orchestrator.request import HistoryMessage, Request, checked

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
FULL = Request(
    message="Über?",
    primary="specs",
    supporting=("maintenance",),
    mode="debate",
    options={"session_id": "s"},
    inputs={"size": 4},
    context={"key": "sk"},
    config={
        "configurable": {"word": "w", "user_id": "eve"},
        "recursion_limit": 7,
        "tags": ["t"],
        "metadata": {"a": 1},
    },
    history=(
        HistoryMessage(role="user", content="before"),
        HistoryMessage(role="assistant", content="yes"),
    ),
    graph="flow:f",
    dialect="chat",
    thread_name="s",
)
STORED = (
    '{"message":"Über?","primary":"specs","supporting":["maintenance"],"mode":"debate","access":["internal","public"],'
    '"options":{"session_id":"s"},"inputs":{"size":4},"context":{"key":"sk"},"config":{"configurable":{"word":"w"},'
    '"recursion_limit":7,"tags":["t"],"metadata":{"a":1}},"history":[{"role":"user","content":"before","id":null},'
    '{"role":"assistant","content":"yes","id":null}],"profile":{"name":"Ada","language":"","tone":"","facts":[]},'
    '"traceparent":"' + TRACE + '"}'
)
"""Such a request as it was stored by versions in which that was another class."""


def test_a_stored_input_of_an_earlier_version_is_read() -> None:
    found = msgspec.json.decode(STORED, type=Request)
    wanted = checked(FULL, {"public", "internal"})
    lacks = {
        "graph": None,
        "dialect": "native",
        "thread_name": None,
    }  # the run and its thread have these
    adds = {"profile": Profile(name="Ada"), "traceparent": TRACE}
    assert found == msgspec.structs.replace(wanted, **lacks, **adds)
    assert found.context_values == {"word": "w", "key": "sk"}
    assert msgspec.json.decode(b'{"message":"hi","access":["public"]}', type=Request) == Request(
        message="hi"
    )


@pytest.mark.parametrize(
    ("request_", "digest"),
    [
        (Request(message="hi"), "b716a0841224f4e4c18de23094a44aedac2b3109a5c3086c055f6b7801f3f8b1"),
        (FULL, "e23e831a076ce4caa0f06fc27b47b6b9d8fc0fc66d7ee6f91090f73d176d9da8"),
    ],
    ids=["small", "full"],
)
def test_a_request_is_compared_as_earlier_versions_did(request_: Request, digest: str) -> None:
    access = {"public", "internal"} if request_ is FULL else {"public"}
    assert checked(request_, access).digest.hex() == digest


def test_what_does_not_make_another_request() -> None:
    same = msgspec.structs.replace(
        FULL,
        message_id="m",
        traceparent=TRACE,
        profile=Profile(name="Eve"),
        on_busy="reject",
        idempotency_key="k",
    )
    assert same.digest == FULL.digest


@pytest.mark.parametrize(
    "other",
    [
        {"message": "Unter?"},
        {"primary": None},
        {"supporting": ()},
        {"mode": None},
        {"options": {}},
        {"inputs": {"size": 5}},
        {"context": {}},
        {"config": {}},
        {"history": ()},
        {"graph": None},
        {"thread_id": "t"},
        {"thread_name": "other"},
        {"dialect": "flows"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_what_makes_another_request(other: dict[str, object]) -> None:
    assert (
        checked(msgspec.structs.replace(FULL, **other), ["public"]).digest
        != checked(FULL, ["public"]).digest
    )


def test_a_config_of_which_nothing_remains_is_not_like_none() -> None:
    dropped = checked(
        Request(message="hi", config={"configurable": {"user_id": "eve"}}), ["public"]
    )
    assert dropped.config == {}
    assert (
        dropped.digest.hex() == "ac26c490f0dd1be0fec9dc6b5604136b091d4d933389e98ec78d0ff190b72ccb"
    )


def test_a_request_is_stored_and_read_as_it_is() -> None:
    request = checked(FULL, {"internal"})
    assert msgspec.json.decode(msgspec.json.encode(request), type=Request) == request


def test_secrets_are_not_shown() -> None:
    shown = checked(FULL, {"internal"}).shown
    assert shown == {
        "message": "Über?",
        "primary": "specs",
        "supporting": ("maintenance",),
        "mode": "debate",
        "options": {"session_id": "s"},
        "inputs": {"size": 4},
    }
    assert list(shown) == ["message", "primary", "supporting", "mode", "options", "inputs"]
