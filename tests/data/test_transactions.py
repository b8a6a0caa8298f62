"""The rules of the log, one by one, inside plain transactions on one connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.data import transactions
from antiphon.data.base import WritingConnection
from antiphon.data.errors import Busy, Fenced, IdempotencyConflict, NotFound
from antiphon.data.records import DAY_MS, Accepted, Fence, Message, Row, RunRecord, Thread
from antiphon.data.transactions import Transaction
from tests.data.support import (
    TABLES,
    acceptance,
    answered,
    checkpoint,
    note,
    notes,
    reply,
    stored,
    task_write,
)

END = [note(kind="end", at=9)]


class Log:
    """Functions of `transactions`, each in a transaction of its own, undone if it raises."""

    def __init__(self, connection: WritingConnection) -> None:
        self.connection = connection

    def do(self, command: Callable[..., Any], *args: Any) -> Any:
        self.connection.begin()
        try:
            result = command(Transaction(self.connection), *args)
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")
        return result

    def accept(self, **given: Any) -> Accepted:
        return self.do(transactions.accept, acceptance(**given))

    def running(self, **given: Any) -> tuple[RunRecord, Fence]:
        """A run that has just been accepted and claimed, and its writer's fence."""
        run = self.accept(**given).run
        assert run.status == "running"
        return run, fence_of(run)

    def ended(self) -> tuple[RunRecord, Fence]:
        """A run that has two events, the second of them its last, and its last writer's fence."""
        run, fence = self.running()
        self.do(transactions.finish, fence, 1, END, "completed", None, b"")
        return self.run(run.id), fence

    def run(self, run_id: str) -> RunRecord:
        return Transaction(self.connection).existing_run(run_id)

    def rows(self, thread_id: str) -> list[Row]:
        return [row for row in stored(self.connection, Row) if row.thread_id == thread_id]

    def everything(self) -> list[Any]:
        kept = [self.connection.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES]
        return [
            *kept,
            *(self.connection.execute(f"SELECT * FROM {t}").fetchall() for t in CHECKPOINT_TABLES),
        ]


CHECKPOINT_TABLES = ("checkpoints", "checkpoint_writes")


def fence_of(run: RunRecord) -> Fence:
    return Fence(run_id=run.id, epoch=run.lease_epoch)


@pytest.fixture
def log(outside: WritingConnection) -> Log:
    return Log(outside)


# -- accept ----------------------------------------------------------------------------------------


def test_a_message_its_run_and_first_events_are_stored_together(log):
    accepted = log.accept(
        run_id="r", message_id="m", reply_message_id="a", at=7, events=lambda thread, m: notes(2)
    )
    run = accepted.run
    assert accepted.created
    assert (run.status, run.owner, run.attempt, run.charges, run.lease_epoch) == (
        "running",
        "worker",
        1,
        1,
        1,
    )
    assert (run.emitted, run.first_seq) == (2, 1)
    place, message = stored(log.connection, Message)
    assert (message.id, message.role, message.content, message.run_id) == (
        "m",
        "user",
        "hello",
        "r",
    )
    assert (place.id, place.role, place.content, place.parent_id, place.partial) == (
        "a",
        "assistant",
        "",
        "m",
        True,
    )
    (thread,) = stored(log.connection, Thread)
    assert (thread.last_seq, thread.head_message_id, thread.updated_at) == (2, "a", 7)
    assert [(row.seq, row.run_id, row.attempt) for row in log.rows(thread.id)] == [
        (1, "r", 1),
        (2, "r", 1),
    ]


def test_first_events_are_made_from_the_thread_and_the_message_as_stored(log):
    seen = []
    first = log.accept().run

    def events(thread: Thread, message: Message):
        seen.append((thread, message))
        return [note()]

    log.accept(thread_id=first.thread_id, message_id="second", events=events)
    ((thread, message),) = seen
    assert (thread.id, thread.last_seq) == (first.thread_id, 1)
    assert message == next(one for one in stored(log.connection, Message) if one.id == "second")
    assert message.parent_id == first.reply_message_id


@pytest.mark.parametrize(
    ("change", "error"), [({"thread_id": "nowhere"}, NotFound), ({"user_id": "bob"}, NotFound)]
)
def test_a_missing_thread_and_somebody_elses_are_the_same(log, change, error):
    mine = log.accept().run.thread_id
    before = log.everything()
    with pytest.raises(error):
        log.accept(**({"thread_id": mine} | change))
    assert log.everything() == before


def test_a_name_makes_one_thread_per_user_and_namespace(log):
    def thread_of(user: str, namespace: str, name: str) -> str:
        return log.accept(user_id=user, thread_name=(namespace, name)).run.thread_id

    places = [
        ("ada", "chat", "x"),
        ("ada", "chat", "y"),
        ("ada", "other", "x"),
        ("bob", "chat", "x"),
    ]
    first = [thread_of(*place) for place in places]
    assert len(set(first)) == len(places)
    assert [thread_of(*place) for place in places] == first


def test_a_repeated_request_gives_the_first_run_and_stores_nothing(log):
    first = log.accept(idempotency=("key", b"digest")).run
    before = log.everything()
    again = log.accept(idempotency=("key", b"digest"), on_busy="reject")
    assert again == Accepted(run=first, created=False)
    assert log.everything() == before


def test_a_repeated_request_gives_the_run_as_it_is_now(log):
    run = log.accept(idempotency=("key", b"digest")).run
    log.do(transactions.finish, fence_of(run), 1, END, "completed", None, b"done")
    assert log.accept(idempotency=("key", b"digest")).run == log.run(run.id)


def test_a_key_used_for_another_request_is_a_conflict(log):
    log.accept(idempotency=("key", b"digest"))
    before = log.everything()
    with pytest.raises(IdempotencyConflict):
        log.accept(idempotency=("key", b"other"))
    assert log.everything() == before


def test_an_earlier_request_is_found_by_its_user_key_and_digest(log):
    run = log.accept(idempotency=("key", b"digest")).run
    assert log.do(transactions.repeated, "ada", "key", b"digest") == run
    assert log.do(transactions.repeated, "ada", "other", b"digest") is None
    assert log.do(transactions.repeated, "bob", "key", b"digest") is None
    with pytest.raises(IdempotencyConflict):
        log.do(transactions.repeated, "ada", "key", b"other")


def test_keys_of_different_users_do_not_meet(log):
    mine = log.accept(idempotency=("key", b"digest"))
    theirs = log.accept(idempotency=("key", b"other"), user_id="bob")
    assert theirs.created
    assert theirs.run.id != mine.run.id


def test_a_refused_message_does_not_use_up_its_key(log):
    run, fence = log.running()
    with pytest.raises(Busy):
        log.accept(thread_id=run.thread_id, on_busy="reject", idempotency=("key", b"digest"))
    log.do(transactions.finish, fence, 1, END, "completed", None, b"")
    assert log.accept(
        thread_id=run.thread_id, on_busy="reject", idempotency=("key", b"digest")
    ).created


def test_on_a_busy_thread_reject_stores_nothing(log):
    run, _ = log.running()
    before = log.everything()
    with pytest.raises(Busy):
        log.accept(thread_id=run.thread_id, on_busy="reject")
    assert log.everything() == before


def test_on_a_busy_thread_enqueue_waits_without_an_owner(log):
    first, _ = log.running()
    run = log.accept(thread_id=first.thread_id, on_busy="enqueue").run
    assert (run.status, run.owner, run.attempt, run.charges, run.lease_epoch) == (
        "queued",
        None,
        0,
        0,
        0,
    )
    assert run.first_seq == 2


def follows(log: Log, run: RunRecord) -> str | None:
    """What the message of a run stands behind."""
    return next(
        message.parent_id
        for message in stored(log.connection, Message)
        if message.id == run.input_message_id
    )


def test_messages_follow_each_others_replies(log):
    first, _ = log.running()
    second = log.accept(thread_id=first.thread_id).run
    third = log.accept(thread_id=first.thread_id, on_busy="interrupt").run
    assert follows(log, first) is None
    assert follows(log, second) == first.reply_message_id
    assert follows(log, third) == second.reply_message_id


def test_a_rollback_stands_where_the_first_run_under_way_stood(log):
    first, fence = log.running()
    log.do(transactions.finish, fence, 1, END, "completed", None, b"")
    second = log.accept(thread_id=first.thread_id).run
    third = log.accept(thread_id=first.thread_id).run
    for _ in range(2):
        rollback = log.accept(thread_id=first.thread_id, on_busy="rollback").run
        assert follows(log, rollback) == follows(log, second) == first.reply_message_id
    assert follows(log, third) == second.reply_message_id


@pytest.mark.parametrize("on_busy", ["interrupt", "rollback"])
def test_on_a_busy_thread_a_message_can_ask_everything_under_way_to_stop(log, on_busy):
    running, _ = log.running()
    queued = log.accept(thread_id=running.thread_id).run
    accepted = log.accept(thread_id=running.thread_id, on_busy=on_busy)
    assert accepted.interrupted == (running.id, queued.id)
    assert accepted.run.status == "queued"
    assert [log.run(one.id).cancel_requested_by for one in (running, queued, accepted.run)] == [
        "ada",
        "ada",
        None,
    ]


@pytest.mark.parametrize("on_busy", ["enqueue", "reject", "interrupt", "rollback"])
def test_on_an_idle_thread_a_message_always_runs(log, on_busy):
    run, _ = log.ended()
    accepted = log.accept(thread_id=run.thread_id, on_busy=on_busy)
    assert accepted.run.status == "running"
    assert accepted.interrupted == ()


# -- append ----------------------------------------------------------------------------------------


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None
)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 4)), max_size=12))
def test_numbers_are_dense_per_thread_whoever_appends(log, batches):
    runs = [log.running()[0] for _ in range(3)]
    emitted = [1, 1, 1]
    for which, count in batches:
        last = log.do(transactions.append, fence_of(runs[which]), emitted[which], notes(count))
        emitted[which] += count
        assert last == (emitted[which] if count else 0)
    for run, count in zip(runs, emitted, strict=True):
        assert [row.seq for row in log.rows(run.thread_id)] == list(range(1, count + 1))
        assert log.run(run.id).emitted == count


def test_runs_of_one_thread_share_its_numbers(log):
    first, fence = log.running()
    second = log.accept(thread_id=first.thread_id).run
    log.do(transactions.append, fence, 1, notes(2))
    log.do(transactions.cancel, second.id, "ada", END, b"")
    assert [(row.seq, row.run_id) for row in log.rows(first.thread_id)] == [
        (1, first.id),
        (2, second.id),
        (3, first.id),
        (4, first.id),
        (5, second.id),
    ]


def test_an_append_whose_answer_was_lost_can_be_repeated(log):
    _, fence = log.running()
    assert log.do(transactions.append, fence, 1, notes(2)) == 3
    before = log.everything()
    assert log.do(transactions.append, fence, 1, notes(2)) == 0
    assert log.everything() == before


@pytest.mark.parametrize("expected", [0, 2, 99])
def test_an_append_at_the_wrong_place_is_fenced(log, expected):
    _, fence = log.running()
    before = log.everything()
    with pytest.raises(Fenced):
        log.do(transactions.append, fence, expected, notes(2))
    assert log.everything() == before


def test_an_append_to_an_unknown_run_is_fenced(log):
    with pytest.raises(Fenced):
        log.do(transactions.append, Fence(run_id="nowhere", epoch=1), 0, notes(1))


WRITERS_WORK = [
    (transactions.append, (notes(1),)),
    (transactions.append, ([], [("", "c1", task_write())])),
    (transactions.put_checkpoint, (notes(1), checkpoint())),
    (transactions.put_checkpoint, ([], checkpoint())),
    (transactions.finish, (END, "completed", None, b"")),
    (transactions.pause, (notes(1),)),
]


@pytest.mark.parametrize(("command", "rest"), WRITERS_WORK)
def test_nothing_of_an_earlier_holder_is_taken(log, command, rest):
    run, fence = log.running()
    log.do(transactions.claim, run.id, "successor", "worker")
    before = log.everything()
    with pytest.raises(Fenced):
        log.do(command, fence, 1, *rest)
    assert log.everything() == before


def test_an_earlier_holder_cannot_hand_a_run_back(log):
    run, fence = log.running()
    log.do(transactions.claim, run.id, "successor", "worker")
    before = log.everything()
    log.do(transactions.hand_back, fence, False)
    assert log.everything() == before


WITH_EVENTS = [(command, rest) for command, rest in WRITERS_WORK if rest[0]]
WITHOUT_EVENTS = [(command, rest) for command, rest in WRITERS_WORK if not rest[0]]


@pytest.mark.parametrize(("command", "rest"), WITH_EVENTS)
def test_no_event_is_taken_after_the_end(log, command, rest):
    run, fence = log.ended()
    before = log.everything()
    with pytest.raises(Fenced):
        log.do(command, fence, run.emitted, *rest)
    assert log.everything() == before


@pytest.mark.parametrize(("command", "rest"), WITHOUT_EVENTS)
def test_nothing_else_is_taken_after_the_end(log, command, rest):
    run, fence = log.ended()
    with pytest.raises(Fenced):
        log.do(command, fence, run.emitted, *rest)


@pytest.mark.parametrize("let_go", ["pause", "hand_back"])
@pytest.mark.parametrize(("command", "rest"), WITH_EVENTS)
def test_who_let_go_of_a_run_writes_no_event(log, let_go, command, rest):
    run, fence = log.running()
    if let_go == "pause":
        log.do(transactions.pause, fence, 1, notes(1))
    else:
        log.do(transactions.hand_back, fence, False)
    before = log.everything()
    with pytest.raises(Fenced):
        log.do(command, fence, log.run(run.id).emitted, *rest)
    assert log.everything() == before


@pytest.mark.parametrize(("command", "rest"), WITHOUT_EVENTS)
def test_who_let_go_of_a_run_writes_nothing_else(log, command, rest):
    _, fence = log.running()
    log.do(transactions.hand_back, fence, False)
    with pytest.raises(Fenced):
        log.do(command, fence, 1, *rest)


def test_another_append_at_the_same_place_is_not_a_repetition(log):
    _, fence = log.running()
    log.do(transactions.append, fence, 1, [note(b"one")])
    with pytest.raises(Fenced):
        log.do(transactions.append, fence, 1, [note(b"other")])


def test_a_finish_that_was_not_stored_is_not_answered_as_if_it_were(log):
    _, fence = log.running()
    log.do(transactions.append, fence, 1, [note()])
    with pytest.raises(Fenced):
        log.do(transactions.finish, fence, 1, END, "completed", None, b"")


# -- checkpoints -----------------------------------------------------------------------------------


def test_a_completed_task_leaves_one_charge_and_nothing_else_does(log):
    run, fence = log.running()
    log.do(transactions.hand_back, fence, True)
    fence = Fence(run_id=run.id, epoch=log.do(transactions.claim, run.id, "w", None).lease_epoch)
    log.do(transactions.append, fence, 1, notes(1), [("", "c1", task_write())])
    log.do(transactions.put_checkpoint, fence, 2, notes(1), checkpoint())
    assert log.run(run.id).charges == 2
    log.do(transactions.append, fence, 3, [], [("", "c1", task_write(position=1))], True)
    assert log.run(run.id).charges == 1


def test_events_and_the_writes_that_they_announce_are_taken_or_refused_together(log):
    _, fence = log.running()
    log.do(transactions.append, fence, 1, notes(1), [("", "c1", task_write())])
    assert log.connection.execute("SELECT count(*) FROM checkpoint_writes").fetchone() == (1,)
    with pytest.raises(Fenced):
        log.do(transactions.append, fence, 7, notes(1), [("", "c1", task_write(position=1))])
    assert log.connection.execute("SELECT count(*) FROM checkpoint_writes").fetchone() == (1,)


@pytest.mark.parametrize(("position", "kept"), [(0, b"first"), (-1, b"second")])
def test_an_ordinary_write_is_kept_and_a_special_one_replaced(log, position, kept):
    _, fence = log.running()
    for value in (b"first", b"second"):
        log.do(transactions.append, fence, 1, [], [("", "c1", task_write(position, value))])
    assert log.connection.execute("SELECT value FROM checkpoint_writes").fetchall() == [(kept,)]


def test_the_end_removes_the_checkpoints_of_that_run_only(log):
    (_, first), (other, second) = log.running(), log.running()
    for fence in (first, second):
        log.do(transactions.put_checkpoint, fence, 1, [], checkpoint())
        log.do(transactions.append, fence, 1, [], [("", "c1", task_write())])
    log.do(transactions.finish, first, 1, END, "failed", None, b"")
    for table in CHECKPOINT_TABLES:
        assert log.connection.execute(f"SELECT run_id FROM {table}").fetchall() == [(other.id,)]


# -- events that belong to no run ------------------------------------------------------------------


def test_a_threads_own_events_are_numbered_among_those_of_its_runs(log):
    run, fence = log.running()
    assert log.do(transactions.append_to_thread, run.thread_id, notes(2, "typing")) == 3
    assert log.do(transactions.append, fence, 1, notes(1)) == 4
    rows = log.rows(run.thread_id)
    assert [(row.seq, row.run_id, row.type) for row in rows] == [
        (1, run.id, "start"),
        (2, None, "typing"),
        (3, None, "typing"),
        (4, run.id, "note"),
    ]
    assert log.run(run.id).emitted == 2


def test_a_threads_own_events_do_not_disturb_an_append_that_is_repeated(log):
    run, fence = log.running()
    log.do(transactions.append, fence, 1, notes(2))
    log.do(transactions.append_to_thread, run.thread_id, notes(1))
    before = log.everything()
    assert log.do(transactions.append, fence, 1, notes(2)) == 0
    assert log.do(transactions.append_to_thread, run.thread_id, []) == 0
    assert log.everything() == before


def test_a_thread_that_is_not_there_takes_no_events(log):
    with pytest.raises(NotFound):
        log.do(transactions.append_to_thread, "nowhere", notes(1))


# -- the end ---------------------------------------------------------------------------------------


def test_last_events_reply_and_status_commit_together(log):
    run, fence = log.running()
    answer = reply(run, created_at=20)
    assert (
        log.do(transactions.finish, fence, 1, [note(), *END], "completed", answer, b"result")
        is None
    )
    end = log.run(run.id)
    assert (end.status, end.result, end.finished_at, end.owner, end.emitted) == (
        "completed",
        b"result",
        9,
        None,
        3,
    )
    assert {message.id: message for message in stored(log.connection, Message)}[
        run.reply_message_id
    ] == answer
    (thread,) = stored(log.connection, Thread)
    assert (thread.head_message_id, thread.last_seq, thread.updated_at) == (answer.id, 3, 20)


def test_a_finish_whose_answer_was_lost_can_be_repeated(log):
    run, fence = log.running()
    waiting = log.accept(thread_id=run.thread_id).run
    for _ in range(2):
        successor = log.do(transactions.finish, fence, 1, END, "completed", reply(run), b"", 7)
        assert successor == waiting.id
    assert len(stored(log.connection, Message)) == 4
    assert len(log.rows(run.thread_id)) == 3
    assert log.connection.execute("SELECT tokens FROM usage").fetchall() == [(7,)]


@pytest.mark.parametrize("by", ["finish", "cancel"])
def test_the_last_number_of_a_run_is_that_of_its_last_event(log, by):
    run, fence = log.running()
    queued = log.accept(thread_id=run.thread_id).run
    assert (run.last_seq, queued.last_seq) == (None, None)
    if by == "finish":
        log.do(transactions.finish, fence, 1, [note(), *END], "completed", None, b"")
    else:
        log.do(transactions.cancel, queued.id, "ada", [note(), *END], b"")
    log.accept(thread_id=run.thread_id)
    assert log.run(run.id if by == "finish" else queued.id).last_seq == 4


def test_what_a_run_has_spent_counts_for_its_user_on_the_day_of_its_end(log):
    for user, at, tokens in (("ada", 1, 5), ("ada", 2, 7), ("bob", 1, 3), ("ada", DAY_MS, 11)):
        _, fence = log.running(user_id=user)
        log.do(transactions.finish, fence, 1, [note(at=at)], "completed", None, b"", tokens)
    spent = log.connection.execute(
        "SELECT user_id, day, tokens FROM usage ORDER BY 1, 2"
    ).fetchall()
    assert spent == [("ada", 0, 12), ("ada", 1, 11), ("bob", 0, 3)]


def test_the_successor_is_the_oldest_queued_run(log):
    run, fence = log.running()
    oldest = log.accept(thread_id=run.thread_id, at=50).run
    log.accept(thread_id=run.thread_id, at=10)
    assert log.do(transactions.finish, fence, 1, END, "completed", None, b"") == oldest.id


# -- claim -----------------------------------------------------------------------------------------


def test_queued_runs_are_claimed_one_at_a_time_in_order(log):
    run, fence = log.running()
    second, third = (log.accept(thread_id=run.thread_id).run for _ in range(2))
    assert log.do(transactions.claim, second.id, "w", None) is None
    log.do(transactions.finish, fence, 1, END, "completed", None, b"")
    assert log.do(transactions.claim, third.id, "w", None) is None
    claimed = log.do(transactions.claim, second.id, "w", None)
    assert (claimed.status, claimed.owner, claimed.lease_epoch, claimed.attempt) == (
        "running",
        "w",
        1,
        1,
    )
    assert log.do(transactions.claim, second.id, "x", None) is None
    assert log.do(transactions.claim, third.id, "w", None) is None


def test_a_paused_run_keeps_its_thread(log):
    run, fence = log.running()
    waiting = log.accept(thread_id=run.thread_id).run
    log.do(transactions.pause, fence, 1, notes(1))
    assert log.do(transactions.claim, waiting.id, "w", None) is None
    assert log.do(transactions.claim, run.id, "w", "worker") is None


def test_a_take_over_names_the_holder_that_it_takes_from(log):
    run, _ = log.running()
    assert log.do(transactions.claim, run.id, "thief", "somebody") is None
    taken = log.do(transactions.claim, run.id, "second", "worker")
    assert (taken.owner, taken.lease_epoch, taken.attempt, taken.charges) == ("second", 2, 2, 2)
    assert (run.crashes, taken.crashes) == (0, 1)
    assert log.do(transactions.claim, run.id, "third", "worker") is None


def test_an_ended_run_is_not_to_be_had(log):
    run, _ = log.ended()
    assert log.do(transactions.claim, run.id, "w", None) is None
    assert log.do(transactions.claim, run.id, "w", "worker") is None


@pytest.mark.parametrize(("charged", "charges"), [(True, 1), (False, 0)])
def test_a_run_that_is_handed_back_is_queued_again(log, charged, charges):
    run, fence = log.running()
    log.do(transactions.hand_back, fence, charged)
    queued = log.run(run.id)
    assert (queued.status, queued.owner, queued.charges, queued.attempt) == (
        "queued",
        None,
        charges,
        1,
    )
    claimed = log.do(transactions.claim, run.id, "w", None)
    assert (claimed.attempt, claimed.charges, claimed.crashes, claimed.lease_epoch) == (
        2,
        charges + 1,
        0,
        2,
    )


def test_a_run_is_handed_back_once_and_never_charged_below_nothing(log):
    run, fence = log.running()
    log.do(transactions.append, fence, 1, [], [("", "c1", task_write())])
    for _ in range(2):
        log.do(transactions.hand_back, fence, False)
    assert log.run(run.id).charges == 0


# -- questions to a human --------------------------------------------------------------------------


def test_an_answer_continues_the_same_attempt_under_a_new_lease(log):
    run, fence = log.running()
    log.do(transactions.pause, fence, 1, notes(1))
    paused = log.run(run.id)
    assert (paused.status, paused.owner, paused.emitted) == ("interrupted", None, 2)
    continued = log.do(transactions.answer, run.id, "second", notes(1, "answered"), *answered(run))
    assert (continued.status, continued.owner, continued.attempt, continued.charges) == (
        "running",
        "second",
        1,
        1,
    )
    assert (continued.lease_epoch, continued.emitted) == (2, 3)
    assert log.rows(run.thread_id)[-1].type == "answered"


def test_a_question_is_answered_once(log):
    run, fence = log.running()
    assert log.do(transactions.answer, run.id, "w", notes(1), *answered(run)) is None
    log.do(transactions.pause, fence, 1, notes(1))
    log.do(transactions.answer, run.id, "w", notes(1), *answered(run))
    before = log.everything()
    assert log.do(transactions.answer, run.id, "w", notes(1), *answered(run)) is None
    assert log.everything() == before


def head_of(log, run) -> str:
    return next(
        thread.head_message_id
        for thread in stored(log.connection, Thread)
        if thread.id == run.thread_id
    )


def test_a_question_and_its_answer_are_messages_and_the_reply_stands_behind_them(log):
    run, fence = log.running()
    question = reply(run, content="sure?")
    log.do(transactions.pause, fence, 1, notes(1), question)
    message, reply_id = answered(run)
    continued = log.do(transactions.answer, run.id, "w", notes(1), message, reply_id)
    assert continued.reply_message_id == reply_id
    told = {one.id: one for one in stored(log.connection, Message)}
    assert told[question.id] == question
    assert told[message.id] == message
    assert (told[reply_id].parent_id, told[reply_id].partial) == (message.id, True)
    assert head_of(log, run) == reply_id


def test_an_answer_to_an_earlier_question_is_refused(log):
    """Two clients answer the first question; the second answer must not be for the next one."""
    run, fence = log.running()
    log.do(transactions.pause, fence, 1, notes(1), reply(run, content="sure?"))
    first, second = answered(run), answered(run)
    again = log.do(transactions.answer, run.id, "w", notes(1), *first)
    log.do(
        transactions.pause, Fence(run_id=run.id, epoch=again.lease_epoch), again.emitted, notes(1)
    )
    assert log.do(transactions.answer, run.id, "w", notes(1), *second) is None


def test_a_question_that_a_cancel_has_overtaken_is_not_waited_for(log):
    run, fence = log.running()
    log.do(transactions.cancel, run.id, "ada", [], b"")
    log.do(transactions.pause, fence, 1, notes(1), reply(run, content="sure?"))
    assert log.run(run.id).status == "queued", "for an execution that ends it"


def test_a_message_that_waits_stands_behind_the_reply_to_the_answer(log):
    run, fence = log.running()
    waiting = log.do(transactions.accept, acceptance(thread_id=run.thread_id)).run
    head = head_of(log, run)
    log.do(transactions.pause, fence, 1, notes(1), reply(run, content="sure?"))
    message, reply_id = answered(run)
    log.do(transactions.answer, run.id, "w", notes(1), message, reply_id)
    told = {one.id: one for one in stored(log.connection, Message)}
    assert told[waiting.input_message_id].parent_id == reply_id
    assert head_of(log, run) == head


def test_the_request_that_answered_is_remembered_with_the_answer(log):
    run, fence = log.running()
    log.do(transactions.answer, run.id, "w", notes(1), *answered(run), ("ada", "key", b"digest"))
    assert (
        log.do(transactions.repeated, "ada", "key", b"digest") is None
    )  # it was not waiting for an answer
    log.do(transactions.pause, fence, 1, notes(1))
    continued = log.do(
        transactions.answer, run.id, "w", notes(1), *answered(run), ("ada", "key", b"digest")
    )
    assert log.do(transactions.repeated, "ada", "key", b"digest") == continued


def test_an_answer_with_a_key_that_is_taken_is_a_conflict(log):
    run, fence = log.running(idempotency=("key", b"digest"))
    log.do(transactions.pause, fence, 1, notes(1))
    with pytest.raises(IdempotencyConflict):
        log.do(transactions.answer, run.id, "w", notes(1), *answered(run), ("ada", "key", b"other"))


def test_a_pause_whose_answer_was_lost_can_be_repeated(log):
    _, fence = log.running()
    log.do(transactions.pause, fence, 1, notes(1))
    before = log.everything()
    log.do(transactions.pause, fence, 1, notes(1))
    assert log.everything() == before


# -- cancel ----------------------------------------------------------------------------------------


def test_a_running_run_is_asked_to_stop_and_the_first_to_ask_is_remembered(log):
    run, _ = log.running()
    for by in ("ada", "bob"):
        asked = log.do(transactions.cancel, run.id, by, END, b"")
        assert asked == msgspec.structs.replace(run, cancel_requested_by="ada")
    assert len(log.rows(run.thread_id)) == 1


def test_a_run_that_never_began_ends_at_once_and_once(log):
    run = log.accept(thread_id=log.running()[0].thread_id).run
    end = log.do(transactions.cancel, run.id, "ada", END, b"stopped")
    assert (end.status, end.result, end.finished_at, end.emitted) == ("cancelled", b"stopped", 9, 2)
    last = log.rows(run.thread_id)[-1]
    assert (last.type, last.run_id, last.attempt) == ("end", run.id, 1)
    before = log.everything()
    assert log.do(transactions.cancel, run.id, "bob", END, b"") == end
    assert log.everything() == before


@pytest.mark.parametrize("state", ["handed back", "interrupted"])
def test_a_run_that_was_let_go_of_waits_for_an_execution_to_end_it(log, state):
    run, fence = log.running()
    if state == "handed back":
        log.do(transactions.hand_back, fence, True)
    else:
        log.do(transactions.pause, fence, 1, [])
    later = log.accept(thread_id=run.thread_id).run
    for by in ("ada", "bob"):
        asked = log.do(transactions.cancel, run.id, by, END, b"")
        assert (asked.status, asked.owner, asked.emitted) == ("queued", None, 1)
        assert asked.cancel_requested_by == "ada"
    assert log.do(transactions.claim, later.id, "w", None) is None
    claimed = log.do(transactions.claim, run.id, "w", None)
    assert (claimed.status, claimed.lease_epoch, claimed.cancel_requested_by) == (
        "running",
        2,
        "ada",
    )


# -- access ----------------------------------------------------------------------------------------


def test_a_ticket_lets_somebody_in_once_and_in_time(log):
    for digest in (b"used", b"late", b"kept"):
        log.do(transactions.issue_ticket, digest, b"ada", 0, 10)
    assert log.do(transactions.redeem_ticket, b"used", 10) == b"ada"
    assert log.do(transactions.redeem_ticket, b"used", 10) is None
    assert log.do(transactions.redeem_ticket, b"late", 11) is None
    assert log.do(transactions.redeem_ticket, b"unknown", 0) is None
    log.do(transactions.issue_ticket, b"new", b"ada", 11, 20)
    assert log.connection.execute("SELECT digest FROM tickets").fetchall() == [(b"new",)]


def revoked(log: Log) -> list[tuple[str, str, int]]:
    return log.connection.execute("SELECT * FROM revocations ORDER BY 1, 2").fetchall()


def test_a_revocation_is_remembered_and_can_be_moved_on(log):
    for kind, value, at in (("jti", "t", 5), ("user", "ada", 5), ("user", "ada", 9)):
        log.do(transactions.revoke, kind, value, at)
    assert revoked(log) == [("jti", "t", 5), ("user", "ada", 9)]


def test_a_revocation_never_goes_back(log):
    for at in (9, 5):
        log.do(transactions.revoke, "user", "ada", at)
    assert revoked(log) == [("user", "ada", 9)]


@pytest.mark.parametrize(
    ("command", "rest"),
    [
        (transactions.claim, ("w", None)),
        (transactions.answer, ("w", [], None, "reply")),
        (transactions.cancel, ("ada", END, b"")),
    ],
)
def test_an_unknown_run_is_not_found(log, command, rest):
    with pytest.raises(NotFound):
        log.do(command, "nowhere", *rest)
