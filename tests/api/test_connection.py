"""A WebSocket conversation without a socket: what arrives, and what is to be done."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from antiphon.api.connection import (
    REFUSALS,
    Action,
    Close,
    Conversation,
    Perform,
    Send,
    Then,
    Verify,
)
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from antiphon.api.principal import Principal
from antiphon.api.problems import CODES, Problem

ADA, BOB = Principal(id="ada"), Principal(id="bob")
INVALID = Problem("AUTH_INVALID", "Invalid token")
ASK = {"chat": {"type": "message", "message": "hi"}, "native": {"type": "message", "message": "hi"}}
AT = 1_770_000_000_000


@pytest.fixture(params=[name for name, dialect in DIALECTS.items() if dialect.asks])
def dialect(request: pytest.FixtureRequest) -> Dialect:
    return DIALECTS[request.param]


@pytest.fixture
def talk(dialect: Dialect) -> Conversation:
    return Conversation(dialect, "c-1")


def encoded(frame: Any) -> str:
    return msgspec.json.encode(frame).decode()


def code(action: Any) -> str:
    assert isinstance(action, Send)
    frame = json.loads(encoded(action.frame))
    return str(frame.get("data", frame)["code"])


def test_a_login_is_to_be_verified(talk: Conversation) -> None:
    assert talk.receive(encoded({"type": "auth", "token": "t"}), AT) == [Verify("t")]


@pytest.mark.parametrize(
    "frame",
    [{"type": "message", "message": "hi"}, {"type": "cancel"}, {"type": "resume", "run_id": "r"}],
)
def test_nothing_is_done_before_the_login(talk: Conversation, frame: dict[str, Any]) -> None:
    (report,) = talk.receive(encoded(frame), AT)
    assert code(report) == "AUTH_REQUIRED"


def test_a_ping_is_answered_before_the_login(talk: Conversation) -> None:
    (report,) = talk.receive(encoded({"type": "ping"}), AT)
    assert isinstance(report, Send)
    assert "pong" in encoded(report.frame)


def test_what_a_client_asks_for_is_done_in_its_name(talk: Conversation) -> None:
    talk.authenticated(ADA, AT, asked=True)
    (action,) = talk.receive(encoded({"type": "message", "message": "hi"}), AT)
    assert isinstance(action, Perform)
    assert action.principal == ADA


def test_the_third_bad_login_closes(talk: Conversation) -> None:
    for _ in range(REFUSALS - 1):
        assert not any(isinstance(action, Close) for action in talk.refused(INVALID, AT))
    assert talk.refused(INVALID, AT)[-1] == Close(4401)


def test_a_bad_login_leaves_a_good_one_as_it_was(talk: Conversation) -> None:
    talk.authenticated(ADA, AT, asked=True)
    talk.refused(INVALID, AT)
    assert talk.principal == ADA


def test_a_connection_stays_its_users(talk: Conversation) -> None:
    talk.authenticated(ADA, AT, asked=True)
    talk.authenticated(BOB, AT, asked=True)
    assert talk.principal == ADA


FLOWS = DIALECTS["flows"]
LOGGED_IN = Principal(id="ada", expires_at=AT + 1000)
FIRST = encoded({"message": "hi", "token": "t"})


def test_a_message_may_bring_its_login() -> None:
    talk = Conversation(FLOWS, "")
    verify, then = talk.receive(FIRST, AT)
    assert verify == Verify("t")
    assert isinstance(then, Then)
    talk.authenticated(LOGGED_IN, AT, asked=True)
    (action,) = talk.then(then.command, AT)
    assert isinstance(action, Perform)
    assert action.principal == LOGGED_IN
    assert [type(action) for action in talk.receive(FIRST, AT)] == [Perform], "it is known by now"


def test_a_message_whose_login_failed_is_not_obeyed() -> None:
    talk = Conversation(FLOWS, "")
    for _ in range(2):
        _, then = talk.receive(FIRST, AT)
        talk.refused(INVALID, AT)
        assert isinstance(then, Then)
        assert talk.then(then.command, AT) == []


def test_a_later_message_may_renew_the_login_but_not_change_the_user() -> None:
    talk = Conversation(FLOWS, "")
    talk.receive(FIRST, AT)
    talk.authenticated(LOGGED_IN, AT, asked=True)
    for user, obeyed in (("ada", True), ("bob", False)):
        verify, then = talk.receive(encoded({"message": "hi", "token": user}), AT)
        assert verify == Verify(user)
        assert isinstance(then, Then)
        talk.authenticated(Principal(id=user, expires_at=AT + 2000), AT, asked=True)
        assert bool(talk.then(then.command, AT)) == obeyed
        assert talk.principal == Principal(id="ada", expires_at=AT + 2000)


def test_a_token_is_ignored_if_nobody_has_to_log_in() -> None:
    talk = Conversation(FLOWS, "")
    talk.authenticated(ADA, AT, asked=False)
    assert [type(action) for action in talk.receive(FIRST, AT)] == [Perform]


def test_a_login_that_ran_out_closes(talk: Conversation) -> None:
    assert talk.expired(INVALID, AT)[-1] == Close(4401)


def test_a_login_that_could_not_be_checked_is_not_counted(talk: Conversation) -> None:
    for _ in range(REFUSALS):
        (report,) = talk.refused(Problem("UNAVAILABLE", "Not now."), AT)
        assert code(report) == "UNAVAILABLE"
    for _ in range(REFUSALS - 1):
        assert Close(4401) not in talk.refused(INVALID, AT)


def test_a_client_that_sent_no_token_is_greeted_if_its_vocabulary_says_so(
    dialect: Dialect, talk: Conversation
) -> None:
    greeted = dialect.greets and dialect.welcome("c-1", ADA, False, AT) is not None
    assert bool(talk.authenticated(ADA, AT, asked=False, silently=True)) == greeted
    assert talk.principal == ADA


def test_a_connection_without_a_login_in_time_is_closed(talk: Conversation) -> None:
    report, closing = talk.silent(False, AT)
    assert code(report) == "AUTH_TIMEOUT"
    assert isinstance(closing, Close)


@pytest.mark.parametrize(("busy", "actions"), [(False, [Close(1000)]), (True, [])])
def test_an_idle_connection_is_closed_unless_a_run_is_shown(
    talk: Conversation, busy: bool, actions: list[Action]
) -> None:
    talk.authenticated(ADA, AT, asked=True)
    assert talk.silent(busy, AT) == actions


@pytest.mark.parametrize(("names_itself", "user"), [(True, "bob"), (False, "ada")])
def test_a_client_names_itself_only_if_nobody_has_to_log_in(names_itself: bool, user: str) -> None:
    talk = Conversation(FLOWS, names_itself=names_itself)
    talk.authenticated(ADA, AT, asked=False)
    (action,) = talk.receive(encoded({"message": "hi", "user_id": "bob"}), AT)
    assert isinstance(action, Perform)
    assert action.principal.id == user
    assert talk.principal is not None
    assert talk.principal.id == user


DEEP = '{"type":' + "[" * 100_000 + "]" * 100_000 + "}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "UNSUPPORTED_DATA"),
        ("", "INVALID_JSON"),
        ("{", "INVALID_JSON"),
        ("nonsense", "INVALID_JSON"),
        (DEEP, "INVALID_JSON"),
        ('{"type":NaN}', "INVALID_JSON"),
        ('{"type":"ping"', "INVALID_JSON"),
        ('{"type":"ping"}{}', "INVALID_JSON"),
        ('{"message":"\\ud800"}', "INVALID_JSON"),
        ('{"after":' + "9" * 5000 + "}", "INVALID_JSON"),
        ("\0", "INVALID_JSON"),
        ("\ufeff{}", "INVALID_JSON"),
        ("null", "BAD_REQUEST"),
        ("[]", "BAD_REQUEST"),
        ("1", "BAD_REQUEST"),
        ('"ping"', "BAD_REQUEST"),
        ('{"type":"nonsense"}', "UNKNOWN_TYPE"),
        ('{"type":null}', "UNKNOWN_TYPE"),
        ('{"type":["ping"]}', "UNKNOWN_TYPE"),
        ("{}", "UNKNOWN_TYPE"),
    ],
)
def test_a_bad_frame_is_told_and_the_connection_stays(
    talk: Conversation, text: str | None, expected: str
) -> None:
    talk.authenticated(ADA, AT, asked=False)
    (report,) = talk.receive(text, AT)
    assert code(report) == expected


@pytest.mark.parametrize("depth", range(900, 1000, 10))
def test_a_login_with_a_deep_list_for_a_token_is_told(talk: Conversation, depth: int) -> None:
    assert talk.receive('{"type":"auth","token":' + "[" * depth + "]" * depth + "}", AT)


@given(st.text())
def test_no_text_breaks_a_conversation(text: str) -> None:
    for dialect in DIALECTS.values():
        assert Conversation(dialect, "c").receive(text, AT)


@pytest.mark.parametrize("name", CODES)
def test_a_problem_of_a_frame_leaves_the_connection_open(talk: Conversation, name: str) -> None:
    report, *closing = talk.problem(Problem(name, "Why."), AT)
    assert code(report) == name
    assert closing == ([Close(4404)] if name == "AGENT_NOT_FOUND" else [])


@pytest.mark.parametrize("name", CODES)
def test_a_problem_of_the_connection_closes_it_with_its_own_code(
    talk: Conversation, name: str
) -> None:
    report, closing = talk.fatal(Problem(name, "Why."), AT)
    assert code(report) == name
    assert closing == Close(CODES[name].close or 1008)


class Talking(RuleBasedStateMachine):
    """Whatever a client does, in any order: commands need a login, and stay the first user's."""

    def __init__(self) -> None:
        super().__init__()
        self.talk = Conversation(DIALECTS["chat"], "c")
        self.user: Principal | None = None
        self.refusals = 0
        self.closed = False

    @rule(who=st.sampled_from([ADA, BOB]))
    def log_in(self, who: Principal) -> None:
        self.note(self.talk.authenticated(who, AT, asked=True))
        self.refusals += self.user not in (None, who)
        self.user = self.user or who

    @rule()
    def fail_to_log_in(self) -> None:
        self.note(self.talk.refused(INVALID, AT))
        self.refusals += 1

    @rule(
        frame=st.sampled_from(
            [{"type": "message", "message": "x"}, {"type": "cancel"}, {"type": "nonsense"}]
        )
    )
    def speak(self, frame: dict[str, Any]) -> None:
        actions = self.talk.receive(encoded(frame), AT)
        self.note(actions)
        performed = [action.principal for action in actions if isinstance(action, Perform)]
        assert performed == ([self.user] if self.user and frame["type"] != "nonsense" else [])

    def note(self, actions: list[Any]) -> None:
        self.closed = self.closed or any(isinstance(action, Close) for action in actions)

    @invariant()
    def it_closes_after_three_refusals(self) -> None:
        assert self.closed == (self.refusals >= REFUSALS)


TestTalking = Talking.TestCase
