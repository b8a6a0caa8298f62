"""Which run a connection shows, without a connection."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from antiphon.api.problems import Problem
from antiphon.api.turns import WAITING, Showing, Turns, coming_back


class Run(NamedTuple):
    id: str
    answered: int = 0
    queued: bool = False
    first_seq: int = 10


A, B, C = Run("a"), Run("b"), Run("c")
ANSWER = Run("a", answered=7)


def shown(turns: Turns[Run]) -> str | None:
    showing = turns.begin()
    return None if showing is None else showing.run.id


def test_runs_are_shown_in_the_order_of_their_messages() -> None:
    turns: Turns[Run] = Turns()
    for run in (A, B, C):
        assert not turns.add(run, 0)
    for run in (A, B, C):
        assert shown(turns) == run.id
        turns.end()
    assert shown(turns) is None


def test_what_follows_an_answer_comes_first() -> None:
    turns: Turns[Run] = Turns()
    turns.add(B, 0)
    assert not turns.add(ANSWER, 7), "nothing is shown that had to give way"
    assert (shown(turns), turns.showing) == ("a", Showing(ANSWER, 7))


def test_a_run_of_which_nothing_was_sent_gives_way_to_an_answer() -> None:
    turns: Turns[Run] = Turns()
    turns.add(B, 0)
    turns.add(C, 0)
    assert shown(turns) == "b"
    assert turns.add(ANSWER, 7)
    turns.end(gave_way=True)
    order = []
    while (run_id := shown(turns)) is not None:
        order.append(run_id)
        turns.end()
    assert order == ["a", "b", "c"]


def test_a_run_that_has_begun_is_shown_to_its_end() -> None:
    turns: Turns[Run] = Turns()
    turns.add(B, 0)
    turns.begin()
    turns.begun = True
    assert not turns.add(ANSWER, 7)


@pytest.mark.parametrize(
    ("run", "seqs", "waits"),
    [
        (Run("a", queued=True), [11.0], True),
        (Run("a", queued=True), [10.01, 11.0], True),
        (Run("a", queued=True), [11.0, 12.0], False),
        (Run("a"), [11.0], False),
    ],
)
def test_an_acceptance_alone_is_held_back_while_another_run_goes_on(
    run: Run, seqs: list[float], waits: bool
) -> None:
    turns: Turns[Run] = Turns()
    assert not turns.must_wait(seqs), "nothing is shown"
    turns.add(run, 0)
    turns.begin()
    assert turns.must_wait(seqs) == waits
    turns.begun = True
    assert not turns.must_wait(seqs)


def test_a_cancel_is_for_what_is_shown_or_waits_or_was_shown_last() -> None:
    turns: Turns[Run] = Turns()
    assert turns.to_cancel() is None
    turns.add(A, 0)
    assert turns.to_cancel() == "a"
    turns.begin()
    turns.sent(11)
    turns.end()
    assert turns.to_cancel() == "a", "it may wait with a question"


def test_the_end_of_a_stopped_run_is_shown_although_its_question_was_its_last() -> None:
    turns: Turns[Run] = Turns()
    turns.add(A, 0)
    turns.begin()
    turns.sent(12)
    assert turns.cancelled("a") is None, "it is being shown"
    turns.end()
    assert turns.begin() == Showing(A, 12)
    turns.end()
    assert turns.cancelled("a") == Showing(A, 12), "it is not shown any more"
    assert turns.cancelled("b") is None


def test_there_is_room_for_so_many_messages() -> None:
    turns: Turns[Run] = Turns()
    for number in range(WAITING):
        turns.check_room()
        turns.add(Run(str(number)), 0)
    with pytest.raises(Problem, match="waiting"):
        turns.check_room()


@pytest.mark.parametrize(
    ("last_seq", "after"), [("", 5), ("7", 7), ("7.01", 7.01), ("-1", 5), ("seven", 5), ("٧", 5)]
)
def test_a_connection_comes_back_to_where_it_was(last_seq: str, after: float) -> None:
    command = coming_back("a", 5, last_seq)
    assert (command.run_id, command.after) == ("a", after)


class Showings(RuleBasedStateMachine):
    """Whatever happens, in any order: each message is shown to its end, once, in its order."""

    def __init__(self) -> None:
        super().__init__()
        self.turns: Turns[Run] = Turns()
        self.sent: list[str] = []
        self.ended: list[str] = []
        self.gives_way = False

    @rule(answers=st.booleans())
    def add(self, answers: bool) -> None:
        run = Run(f"run {len(self.sent)}", answered=int(answers))
        self.sent.append(run.id)
        self.gives_way = self.turns.add(run, 0) or self.gives_way

    @precondition(lambda self: self.turns.showing is None)
    @rule()
    def begin(self) -> None:
        assert (self.turns.begin() is None) == (len(self.ended) == len(self.sent))

    @precondition(lambda self: self.turns.showing is not None and not self.gives_way)
    @rule()
    def send(self) -> None:
        self.turns.begun = True
        self.turns.sent(11)

    @precondition(lambda self: self.turns.showing is not None)
    @rule()
    def end(self) -> None:
        assert self.turns.showing is not None
        if not self.gives_way:
            self.ended.append(self.turns.showing.run.id)
        self.turns.end(gave_way=self.gives_way)
        self.gives_way = False

    @invariant()
    def nothing_is_shown_twice(self) -> None:
        assert len(set(self.ended)) == len(self.ended)

    @invariant()
    def a_cancel_finds_what_goes_on(self) -> None:
        if len(self.ended) < len(self.sent):
            assert self.turns.to_cancel() not in {None, *self.ended}


TestShowings = Showings.TestCase
