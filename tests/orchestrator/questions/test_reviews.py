"""Questions about tool calls, in the three shapes that are in use."""

from __future__ import annotations

from typing import Any

import pytest

from antiphon.orchestrator.errors import AnswerInvalid, AnswerUnclear
from antiphon.orchestrator.questions.reviews import Review, review_of

ALL = ["approve", "edit", "reject", "respond"]


def batch(*allowed: list[str], about: str = "") -> dict[str, Any]:
    """What `HumanInTheLoopMiddleware` asks about one call for each list of allowed decisions."""
    requests = [{"name": "mail", "args": {"to": "ada"}, "description": about} for _ in allowed]
    return {
        "action_requests": requests,
        "review_configs": [{"action_name": "mail", "allowed_decisions": one} for one in allowed],
    }


def inbox(**config: bool) -> list[dict[str, Any]]:
    """What older graphs ask, as a list of one."""
    allowed = {
        f"allow_{name}": config.get(name, False) for name in ("accept", "edit", "ignore", "respond")
    }
    return [
        {
            "action_request": {"action": "mail", "args": {"to": "ada"}},
            "config": allowed,
            "description": "Mail?",
        }
    ]


def single(*kinds: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the middleware asks about a call by itself, and the schema of the answer."""
    value = {
        "type": "tool_approval",
        "tool_call_id": "1",
        "name": "mail",
        "args": {"to": "ada"},
        "description": "",
    }
    parts = {kind: {"type": "object", "properties": {"type": {"const": kind}}} for kind in kinds}
    return value, {"$defs": parts, "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds]}


def review(value: Any, schema: Any = None) -> Review:
    found = review_of(value, schema)
    assert found is not None
    return found


@pytest.mark.parametrize(
    "value",
    [
        None,
        "sure?",
        {},
        [],
        ["a"],
        {"question": "sure?", "action": "mail"},
        {"action_requests": []},
        {"action_requests": ["mail"]},
        {"action_requests": "mail"},
        [{"action_request": "mail"}],
        [{"action_request": {"action": "mail"}}, "b"],
        {"type": "tool_approval"},
    ],
)
def test_anything_else_is_no_review(value: Any) -> None:
    assert review_of(value) is None


# -- what is shown ---------------------------------------------------------------------------------


def test_the_call_is_shown_as_people_write_it() -> None:
    value = batch(ALL, about="Tool execution requires approval\n\nTool: mail\nArgs: {'to': 'ada'}")
    assert review(value).text == 'Tool execution requires approval\n\nmail(to="ada")'
    assert review(value).options == ALL
    assert (
        review(batch(ALL, about="Please look at it.")).text
        == 'Please look at it.\n\nmail(to="ada")'
    )
    assert review(batch(ALL)).text == 'mail(to="ada")'
    assert review(inbox(accept=True)).text == 'Mail?\n\nmail(to="ada")'
    assert review(*single("approve")).text == 'mail(to="ada")'


def test_several_calls_are_numbered_and_offer_what_is_allowed_for_all() -> None:
    value = batch(ALL, ["approve", "reject"])
    assert review(value).text == '1. mail(to="ada")\n\n2. mail(to="ada")'
    assert review(value).options == ["approve", "reject"]


def test_long_arguments_are_cut() -> None:
    value = batch(ALL)
    value["action_requests"][0]["args"] = {"text": "x" * 100_000}
    assert len(review(value).text) < 2100


def test_the_configuration_of_a_call_is_that_of_its_place_or_of_its_name() -> None:
    value = batch(["approve"], ["reject"])
    value["action_requests"][0]["name"] = "delete"
    value["review_configs"].reverse()
    value["review_configs"][0]["action_name"] = "delete"
    assert [call.allowed for call in review(value).calls] == [("reject",), ("approve",)]
    value["review_configs"].reverse()
    assert [call.allowed for call in review(value).calls] == [("reject",), ("approve",)]


def test_the_decisions_of_a_single_call_are_those_of_its_schema() -> None:
    assert review(*single("approve", "reject")).options == ["approve", "reject"]
    value, _ = single()
    assert review(value, {"properties": {"type": {"const": "respond"}}}).options == ["respond"]
    assert review(value, None).options == ALL


# -- what is answered ------------------------------------------------------------------------------

EDIT = {"type": "edit", "edited_action": {"name": "mail", "args": {"to": "bob"}}}


@pytest.mark.parametrize(
    ("said", "decision"),
    [
        ("yes", {"type": "approve"}),
        ("yes, please", {"type": "approve"}),
        ("Approve", {"type": "approve"}),
        ("accept", {"type": "approve"}),
        (True, {"type": "approve"}),
        ("no", {"type": "reject"}),
        (False, {"type": "reject"}),
        ("reject", {"type": "reject"}),
        ("no, wrong address", {"type": "reject", "message": "wrong address"}),
        ("reject: wrong address", {"type": "reject", "message": "wrong address"}),
        ("respond: sent by hand", {"type": "respond", "message": "sent by hand"}),
        ('edit {"to": "bob"}', EDIT),
        ('edit: {"name": "mail", "args": {"to": "bob"}}', EDIT),
        ('{"type": "approve"}', {"type": "approve"}),
        (
            '{"decisions": [{"type": "reject", "message": "no"}]}',
            {"type": "reject", "message": "no"},
        ),
        ('[{"type": "approve"}]', {"type": "approve"}),
        ({"decisions": [EDIT]}, EDIT),
        ([EDIT], EDIT),
        (EDIT, EDIT),
        (["approve"], {"type": "approve"}),
        ({"type": "respond", "message": "done"}, {"type": "respond", "message": "done"}),
    ],
)
def test_an_answer_about_one_call(said: Any, decision: dict[str, Any]) -> None:
    assert review(batch(ALL)).read(said) == {"decisions": [decision]}
    assert review(*single(*ALL)).read(said) == decision


@pytest.mark.parametrize(
    "said", ["maybe", "yes but not now", "what is it?", "edit", "respond", "edit to bob", ""]
)
def test_words_that_decide_nothing_are_unclear(said: str) -> None:
    with pytest.raises(AnswerUnclear):
        review(batch(ALL)).read(said)


@pytest.mark.parametrize(
    "said",
    [
        None,
        5,
        {},
        [],
        {"decisions": []},
        {"decisions": [{"type": "approve"}, {"type": "approve"}]},
        {"decisions": "approve"},
        {"type": "delete"},
        {"type": ["approve"]},
        {"type": "edit"},
        {"type": "edit", "edited_action": {"name": "mail"}},
        {"type": "edit", "edited_action": {"args": {}}},
        {"type": "respond"},
        {"type": "respond", "message": 5},
        {"type": "reject", "message": 5},
        [None],
        "{not json",
        '{"to": "bob"}',
    ],
)
def test_an_object_that_is_no_decision_is_refused(said: Any) -> None:
    for value in (review(batch(ALL)), review(*single(*ALL))):
        with pytest.raises(AnswerInvalid):
            value.read(said)


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (["reject"], {"type": "approve"}),
        (["approve"], {"type": "reject"}),
        (["approve"], "respond: x"),
    ],
)
def test_a_decision_that_is_not_allowed_is_refused(allowed: list[str], said: Any) -> None:
    with pytest.raises(AnswerInvalid):
        review(batch(allowed)).read(said)


def test_a_yes_or_a_no_that_is_not_allowed_is_unclear() -> None:
    for allowed, said in ((["reject", "edit"], "yes"), (["approve", "edit"], "no")):
        with pytest.raises(AnswerUnclear):
            review(batch(allowed)).read(said)


def test_where_only_a_response_is_allowed_any_words_are_one() -> None:
    assert review(batch(["respond"])).read("blue, I think?") == {
        "decisions": [{"type": "respond", "message": "blue, I think?"}]
    }
    assert review(batch(["respond"])).help == "Answer in your own words."


def test_words_decide_about_all_of_several_calls() -> None:
    both = review(batch(ALL, ALL))
    assert both.read("yes") == {"decisions": [{"type": "approve"}] * 2}
    assert both.read("no, too late") == {
        "decisions": [{"type": "reject", "message": "too late"}] * 2
    }
    assert both.read([{"type": "approve"}, "reject"]) == {
        "decisions": [{"type": "approve"}, {"type": "reject"}]
    }
    for wrong in ({"type": "approve"}, ["approve"], {"decisions": [EDIT]}):
        with pytest.raises(AnswerInvalid):
            both.read(wrong)
    with pytest.raises(AnswerUnclear):
        both.read("respond: hello")


def test_one_call_that_forbids_it_is_not_approved_with_the_others() -> None:
    with pytest.raises(AnswerUnclear):
        review(batch(ALL, ["reject"])).read("yes")
    assert review(batch(ALL, ["reject"])).read("no") == {"decisions": [{"type": "reject"}] * 2}


ANYTHING = {"accept": True, "edit": True, "ignore": True, "respond": True}


@pytest.mark.parametrize(
    ("said", "config", "answer"),
    [
        ("yes", ANYTHING, {"type": "accept", "args": None}),
        ("no", ANYTHING, {"type": "ignore", "args": None}),
        ("no, wrong address", ANYTHING, {"type": "response", "args": "no, wrong address"}),
        ("no, wrong address", {"ignore": True}, {"type": "ignore", "args": None}),
        ("make it friendlier", ANYTHING, {"type": "response", "args": "make it friendlier"}),
        ("yes", {"respond": True}, {"type": "response", "args": "yes"}),
        ("no", {"respond": True}, {"type": "response", "args": "no"}),
        (
            'edit {"to": "bob"}',
            ANYTHING,
            {"type": "edit", "args": {"action": "mail", "args": {"to": "bob"}}},
        ),
        ([{"type": "response", "args": "hm"}], ANYTHING, {"type": "response", "args": "hm"}),
        ({"type": "accept", "args": None}, ANYTHING, {"type": "accept", "args": None}),
    ],
)
def test_an_answer_in_the_inbox_shape(
    said: Any, config: dict[str, bool], answer: dict[str, Any]
) -> None:
    assert review(inbox(**config)).read(said) == [answer]
    assert review(inbox(**config)[0]).read(said) == answer, (
        "a graph that asks with no list is answered by none"
    )


@pytest.mark.parametrize(
    "said", [{"type": "approve"}, {"type": "response"}, {"type": "edit", "args": {}}, [], 5]
)
def test_what_is_refused_in_the_inbox_shape(said: Any) -> None:
    with pytest.raises(AnswerInvalid):
        review(inbox(**ANYTHING)).read(said)
