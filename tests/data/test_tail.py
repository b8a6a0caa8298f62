"""The tail answers like the whole list of rows does, or not at all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from antiphon.data import tail as tail_module
from antiphon.data.records import Row
from antiphon.data.tail import Tail

THREADS = st.sampled_from("abc")


def row(thread_id: str, seq: int) -> Row:
    return Row(thread_id=thread_id, seq=seq, run_id="r", attempt=1, type="note", at=0, payload=b"")


@given(
    commits=st.lists(
        st.one_of(
            st.lists(THREADS, max_size=5).map(lambda threads: ("ours", threads)),
            THREADS.map(lambda thread: ("foreign", [thread])),
            st.just(("clear", [])),
        )
    ),
    after=st.integers(0, 12),
    limit=st.integers(0, 12),
)
def test_an_answer_is_the_list_of_rows_that_this_process_knows(commits, after, limit):
    """The tail lacks foreign rows until it is cleared: it may lag, but never has a gap."""
    tail = Tail()
    log: dict[str, list[Row]] = {"a": [], "b": [], "c": []}
    known = dict.fromkeys(log, 0)
    for who, threads in commits:
        rows = []
        for thread in threads:
            rows.append(row(thread, len(log[thread]) + 1))
            log[thread].append(rows[-1])
        if who == "ours":
            tail.extend(rows)
            known |= {thread: len(log[thread]) for thread in threads}
        if who == "clear":
            tail.clear()
    for thread, rows in log.items():
        answer = tail.read(thread, after, limit)
        assert answer is None or answer == rows[after : known[thread]][:limit]


@given(st.lists(st.integers(1, 4)), st.integers(0, 50), st.integers(0, 50))
def test_a_thread_written_here_from_its_start_is_always_answered(sizes, after, limit):
    tail, rows = Tail(), []
    for size in sizes:
        new = [row("a", len(rows) + position) for position in range(1, size + 1)]
        rows += new
        tail.extend(new)
    expected = rows[after:][:limit] if rows and after <= len(rows) else None
    assert tail.read("a", after, limit) == expected


def test_an_unknown_thread_is_not_answered():
    assert Tail().read("a", 0, 10) is None


def test_nothing_newer_is_an_answer_and_beyond_the_end_is_none():
    tail = Tail()
    tail.extend([row("a", 1)])
    assert tail.read("a", 1, 10) == []
    assert tail.read("a", 2, 10) is None


def test_rows_before_the_first_kept_one_are_not_answered():
    tail = Tail()
    tail.extend([row("a", 5), row("a", 6)])
    assert tail.read("a", 3, 10) is None
    assert tail.read("a", 4, 10) == [row("a", 5), row("a", 6)]


def test_a_gap_starts_over():
    tail = Tail()
    tail.extend([row("a", 1), row("a", 2), row("a", 4)])
    assert tail.read("a", 0, 10) is None
    assert tail.read("a", 3, 10) == [row("a", 4)]


def test_an_answer_does_not_change_later():
    tail = Tail()
    tail.extend([row("a", 1)])
    answer = tail.read("a", 0, 10)
    tail.extend([row("a", 2)])
    assert answer == [row("a", 1)]


def test_a_long_thread_keeps_its_newest_rows():
    tail = Tail()
    last = 3 * tail_module.ROWS
    tail.extend([row("a", seq) for seq in range(1, last + 1)])
    assert tail.read("a", 0, 1) is None
    assert tail.read("a", last - tail_module.ROWS, last) == [
        row("a", seq) for seq in range(last - tail_module.ROWS + 1, last + 1)
    ]


def test_the_least_recently_written_threads_go_first():
    tail = Tail()
    names = [f"t{number}" for number in range(tail_module.THREADS)]
    for name in names:
        tail.extend([row(name, 1)])
    tail.extend([row(names[0], 2)])
    tail.extend([row("new", 1)])
    assert tail.read(names[0], 0, 9) == [row(names[0], 1), row(names[0], 2)]
    assert tail.read(names[1], 0, 9) is None
    assert tail.read("new", 0, 9) == [row("new", 1)]
