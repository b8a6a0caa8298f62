"""Group commit: shared, isolated, and never told about before it is on the disk."""

from __future__ import annotations

import asyncio
import ctypes
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from antiphon.data import transactions, writer
from antiphon.data.errors import Fenced, NotFound, StorageError
from antiphon.data.records import Fence, Row, RunRecord
from antiphon.data.sqlite import _prepare, _writing_connection
from antiphon.data.transactions import Transaction
from antiphon.data.writer import Writer
from tests.data.support import acceptance, note, notes

PATIENCE = 20


class Recorder:
    """A writer on a real file, and what others can read of it at each announcement."""

    def __init__(self, path: Path, beat_seconds: float = 3600) -> None:
        _prepare(path)
        self.outside = sqlite3.connect(path, isolation_level=None)
        self.groups: list[Sequence[Row]] = []
        self.unreadable: list[Row] = []
        self.commits: set[int] = set()
        self.statements: list[str] = []
        self.beats = 0
        self.third_beat = threading.Event()
        self.foreign = asyncio.Event()

        def connect() -> sqlite3.Connection:
            connection = _writing_connection(path)
            connection.set_trace_callback(self.statements.append)
            return connection

        self.writer = Writer(connect, self._committed, self.foreign.set, self._beat, beat_seconds)

    def numbers(self) -> list[tuple[str, int]]:
        """All events that are readable from outside."""
        return self.outside.execute("SELECT thread_id, seq FROM events ORDER BY 1, 2").fetchall()

    async def start(self) -> RunRecord:
        accepted = await self.writer.submit(lambda tx: transactions.accept(tx, acceptance()))
        self.groups.clear()
        self.foreign.clear()  # at the beginning of a connection, everything may be foreign
        return accepted.run

    def append(self, run: RunRecord, expected: int, count: int = 1) -> asyncio.Future[Any]:
        fence = Fence(run_id=run.id, epoch=run.lease_epoch)
        return self.writer.submit(lambda tx: transactions.append(tx, fence, expected, notes(count)))

    def _committed(self, rows: Sequence[Row]) -> None:
        self.groups.append(rows)
        visible = set(self.numbers())
        self.unreadable += [row for row in rows if (row.thread_id, row.seq) not in visible]
        self.commits.add(self.outside.execute("PRAGMA data_version").fetchone()[0])

    def _beat(self, tx: Transaction) -> None:
        transactions.heartbeat(tx, "me", "boot", self.beats)
        self.beats += 1
        if self.beats == 3:
            self.third_beat.set()


class Gate:
    """A command that holds the writer inside its transaction until it is let go."""

    def __init__(self, on: Writer) -> None:
        self._entered, self._open = threading.Event(), threading.Event()
        self._done = on.submit(lambda _tx: self._entered.set() or self._open.wait(PATIENCE))

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, PATIENCE)

    async def let_go(self) -> None:
        self._open.set()
        assert await self._done


async def held(recorder: Recorder) -> Gate:
    """A gate in a group of its own: what is submitted now collects for the next group."""
    gate = Gate(recorder.writer)
    await gate.reached()
    return gate


@pytest.fixture
async def recorder(path: Path) -> AsyncIterator[Recorder]:
    opened = Recorder(path)
    yield opened
    await opened.writer.close()
    opened.outside.close()


async def test_appends_that_wait_together_share_one_commit(recorder):
    runs = [await recorder.start() for _ in range(20)]
    gate = await held(recorder)
    appends = [recorder.append(run, expected) for expected in range(1, 11) for run in runs]
    before = recorder.statements.count("COMMIT")
    await gate.let_go()
    await asyncio.gather(*appends)
    assert recorder.statements.count("COMMIT") == before + 2  # the gate's own, and one for all 200
    assert [len(group) for group in recorder.groups] == [200]


async def test_concurrent_appends_need_far_fewer_commits_than_there_are(recorder):
    runs = [await recorder.start() for _ in range(50)]
    recorder.commits.clear()

    async def write(run: RunRecord) -> None:
        for expected in range(1, 21):
            await recorder.append(run, expected)

    await asyncio.gather(*map(write, runs))
    assert len(recorder.numbers()) == 50 * 21
    assert len(recorder.commits) < 500


async def test_a_group_is_bounded(recorder):
    run = await recorder.start()
    gate = await held(recorder)
    appends = [recorder.append(run, expected) for expected in range(1, writer.GROUP + 2)]
    await gate.let_go()
    await asyncio.gather(*appends)
    assert [len(group) for group in recorder.groups] == [writer.GROUP, 1]


async def test_rows_are_readable_from_outside_when_they_are_announced(recorder):
    runs = [await recorder.start() for _ in range(10)]
    await asyncio.gather(
        *(recorder.append(run, expected, 1) for expected in range(1, 21) for run in runs)
    )
    assert sum(map(len, recorder.groups)) == 200
    assert recorder.unreadable == []


async def test_rows_are_announced_before_the_result_arrives(recorder):
    run = await recorder.start()
    append = recorder.append(run, 1, 3)
    announced_first: list[bool] = []
    append.add_done_callback(
        lambda _: announced_first.append([len(rows) for rows in recorder.groups] == [3])
    )
    await append
    assert announced_first == [True]


async def test_nothing_is_told_before_the_commit(recorder):
    run = await recorder.start()
    first = await held(recorder)
    append = recorder.append(run, 1)
    inside = Gate(recorder.writer)
    await first.let_go()
    await inside.reached()  # the append has been executed in this very transaction
    assert not append.done()
    assert recorder.groups == []
    assert recorder.numbers() == [(run.thread_id, 1)]
    await inside.let_go()
    assert await append == 2
    assert recorder.numbers() == [(run.thread_id, 1), (run.thread_id, 2)]


def _half_done(error: BaseException):
    def command(tx: Transaction) -> None:
        transactions.accept(tx, acceptance(message_id="half done"))
        raise error

    return command


def _twice_the_same_key(tx: Transaction) -> None:
    transactions.heartbeat(tx, "half done", "boot", 0)
    tx.connection.execute("INSERT INTO workers VALUES ('half done', 0, '')")


@pytest.mark.parametrize(
    ("failing", "error"),
    [
        (_half_done(Fenced("no")), Fenced),
        (_half_done(ZeroDivisionError()), ZeroDivisionError),
        (_twice_the_same_key, sqlite3.IntegrityError),
        (lambda tx: transactions.claim(tx, "nowhere", "w", None), NotFound),
    ],
)
async def test_a_failing_command_is_undone_and_does_not_disturb_its_neighbours(
    recorder, failing, error
):
    run = await recorder.start()
    gate = await held(recorder)
    submitted = []
    for expected in range(1, 6):
        submitted += [recorder.append(run, expected), recorder.writer.submit(failing)]
    await gate.let_go()
    results = await asyncio.gather(*submitted, return_exceptions=True)
    assert results[::2] == [2, 3, 4, 5, 6]
    assert {type(result) for result in results[1::2]} == {error}
    assert [[row.seq for row in rows] for rows in recorder.groups] == [[2, 3, 4, 5, 6]]
    assert recorder.numbers() == [(run.thread_id, seq) for seq in range(1, 7)]
    assert recorder.outside.execute("SELECT run_id FROM messages").fetchall() == [(run.id,)] * 2
    assert (
        recorder.outside.execute("SELECT id FROM workers WHERE id = 'half done'").fetchall() == []
    )


async def test_a_caller_that_gave_up_does_not_disturb_its_neighbours(recorder):
    run = await recorder.start()
    gate = await held(recorder)
    given_up, kept = recorder.append(run, 1), recorder.append(run, 2)
    given_up.cancel()
    await gate.let_go()
    assert await kept == 3


async def test_a_full_disk_refuses_the_group_and_the_same_append_succeeds_later(recorder):
    run = await recorder.start()
    fence = Fence(run_id=run.id, epoch=run.lease_epoch)
    big = [note(bytes(200_000))]

    def limit(pages: int):
        return recorder.writer.submit(lambda tx: tx.one(f"PRAGMA max_page_count = {pages}"))

    await limit(1)  # SQLite raises it to what the file already has
    gate = await held(recorder)
    refused = [
        recorder.writer.submit(lambda tx: transactions.append(tx, fence, 1, big)),
        recorder.append(run, 1),
    ]
    await gate.let_go()
    assert [type(one) for one in await asyncio.gather(*refused, return_exceptions=True)] == [
        StorageError
    ] * 2
    assert recorder.numbers() == [(run.thread_id, 1)]
    assert recorder.groups == []
    await limit(2**30)
    assert await recorder.writer.submit(lambda tx: transactions.append(tx, fence, 1, big)) == 2


async def test_close_commits_what_was_submitted_and_takes_nothing_more(recorder):
    run = await recorder.start()
    appends = [recorder.append(run, expected) for expected in range(1, 1001)]
    await recorder.writer.close()
    assert all(append.done() for append in appends)
    assert len(recorder.numbers()) == 1001
    with pytest.raises(StorageError):
        recorder.append(run, 1001)


async def test_close_is_idempotent(recorder):
    await recorder.writer.close()
    await recorder.writer.close()


async def test_a_commit_of_another_connection_is_noticed(recorder, path):
    await recorder.start()
    assert not recorder.foreign.is_set()
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("INSERT INTO workers VALUES ('other', 0, '')")
    await asyncio.wait_for(recorder.foreign.wait(), PATIENCE)


class SlowToConnect:
    """A writer whose connections open only while the gate is open."""

    def __init__(self, path: Path) -> None:
        _prepare(path)
        self.path, self.gate, self.foreign = path, threading.Event(), asyncio.Event()
        self.writer = Writer(
            self._connect, lambda rows: None, self.foreign.set, lambda tx: None, 3600
        )

    def _connect(self) -> sqlite3.Connection:
        assert self.gate.wait(PATIENCE)
        return _writing_connection(self.path)

    async def use(self) -> None:
        await self.writer.submit(lambda tx: None)

    def commit_elsewhere(self) -> None:
        with closing(sqlite3.connect(self.path)) as other, other:
            other.execute("INSERT INTO workers VALUES ('other', 0, '')")


async def test_a_commit_before_the_first_connection_is_noticed(path):
    slow = SlowToConnect(path)
    slow.commit_elsewhere()
    slow.gate.set()
    await slow.use()
    await slow.writer.close()
    assert slow.foreign.is_set()


async def test_a_commit_while_reconnecting_is_noticed(path):
    slow = SlowToConnect(path)
    slow.gate.set()
    await slow.use()
    await slow.writer.submit(lambda tx: tx.one("PRAGMA max_page_count = 1"))
    slow.gate.clear()
    with pytest.raises(StorageError, match="full"):
        await slow.writer.submit(
            lambda tx: transactions.issue_ticket(tx, b"", bytes(500_000), 0, 1)
        )
    slow.commit_elsewhere()
    slow.gate.set()
    await slow.use()
    await slow.writer.close()
    assert slow.foreign.is_set()


async def test_own_commits_are_not_taken_for_those_of_others(recorder):
    run = await recorder.start()
    for expected in range(1, 20):
        await recorder.append(run, expected)
    assert not recorder.foreign.is_set()


async def test_a_worker_says_that_it_lives_while_its_event_loop_is_blocked(path):
    recorder = Recorder(path, beat_seconds=0)
    assert recorder.third_beat.wait(PATIENCE)  # blocks the loop on purpose
    await recorder.writer.close()
    assert recorder.outside.execute("SELECT id, seen_at >= 2 FROM workers").fetchall() == [
        ("me", 1)
    ]
    recorder.outside.close()


async def test_the_first_commit_already_says_that_the_worker_lives(recorder):
    await recorder.start()
    assert recorder.outside.execute("SELECT id FROM workers").fetchall() == [("me",)]


async def test_an_error_of_the_driver_itself_does_not_stop_the_writer(recorder):
    run = await recorder.start()
    unreadable = recorder.writer.submit(lambda tx: tx.one("SELECT CAST(x'ff' AS TEXT)"))
    with pytest.raises((sqlite3.Error, StorageError)):
        await asyncio.wait_for(unreadable, PATIENCE)
    assert await recorder.append(run, 1) == 2


@pytest.mark.parametrize("error", [SystemExit(), asyncio.CancelledError(), MemoryError()])
async def test_no_error_whatever_stops_the_writer(recorder, error):
    run = await recorder.start()
    with pytest.raises((StorageError, MemoryError)):
        await asyncio.wait_for(recorder.writer.submit(_half_done(error)), PATIENCE)
    assert await recorder.append(run, 1) == 2


async def test_a_writer_that_cannot_work_says_so(tmp_path):
    nowhere = tmp_path / "missing" / "log.db"
    broken = Writer(
        lambda: _writing_connection(nowhere), lambda rows: None, lambda: None, lambda tx: None, 3600
    )
    command = broken.submit(lambda tx: None)
    try:
        with pytest.raises(StorageError):
            await asyncio.wait_for(command, PATIENCE)
    finally:
        await broken.close()


# -- a writer that is gone, or stuck ---------------------------------------------------------------


def _kill(thread: threading.Thread) -> None:
    """Raise `SystemExit` in a thread, wherever it is."""
    assert thread.ident is not None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(SystemExit)
    )


async def test_a_writer_whose_thread_was_killed_answers_those_who_wait_and_takes_nothing_more(
    recorder,
):
    assert recorder.writer.problem is None
    thread = recorder.writer._thread
    _kill(thread)
    await asyncio.to_thread(thread.join, PATIENCE)
    assert recorder.writer.problem == writer.GONE
    with pytest.raises(StorageError, match="WRITER_GONE"):
        await recorder.start()


async def test_commands_that_a_dying_thread_leaves_behind_fail(recorder):
    """The thread ends between taking commands from the queue and committing them."""
    gate = await held(recorder)
    left = [recorder.writer.submit(lambda tx: None) for _ in range(3)]
    recorder.writer._jobs.put(("no job",))  # the thread cannot unpack it, and ends
    await gate.let_go()
    results = await asyncio.wait_for(asyncio.gather(*left, return_exceptions=True), PATIENCE)
    assert {type(one) for one in results} == {StorageError}


async def test_a_writer_that_hangs_in_a_commit_is_stuck_until_it_goes_on(recorder, monkeypatch):
    monkeypatch.setattr(writer, "STUCK_SECONDS", 0.2)
    gate = await held(recorder)
    before = recorder.writer.submit(lambda tx: "stored")
    while recorder.writer.problem is None:
        await asyncio.sleep(0.01)
    assert recorder.writer.problem == writer.STUCK
    with pytest.raises(StorageError, match="WRITER_STUCK"):
        recorder.writer.submit(lambda tx: None)
    await gate.let_go()
    assert await before == "stored"
    while recorder.writer.problem is not None:
        await asyncio.sleep(0.01)
    await recorder.start()


async def test_a_closed_writer_is_gone_and_closing_needs_no_thread_of_the_pool(path):
    recorder, gate = Recorder(path), threading.Event()
    asyncio.get_running_loop().set_default_executor(pool := ThreadPoolExecutor(1))
    pool.submit(gate.wait, PATIENCE)
    try:
        await asyncio.wait_for(recorder.writer.close(), PATIENCE / 4)
    finally:
        gate.set()
        recorder.outside.close()
    assert recorder.writer.problem == writer.GONE


# -- commands of threads, and of an event loop that waits ------------------------------------------


async def test_a_thread_and_a_blocked_loop_get_their_results_after_the_commit(recorder, path):
    def stored(number: int) -> list[tuple[Any, ...]]:
        recorder.writer.submit_from_thread(lambda tx: note_user(tx, number)).result(PATIENCE)
        with closing(sqlite3.connect(path)) as connection:
            return connection.execute("SELECT jti FROM notes WHERE jti = ?", (number,)).fetchall()

    def note_user(tx: Transaction, number: int) -> None:
        tx.connection.execute("CREATE TABLE IF NOT EXISTS notes (jti INTEGER)")
        tx.connection.execute("INSERT INTO notes VALUES (?)", (number,))

    assert stored(1) == [(1,)], "on the loop, which can do nothing else meanwhile"
    assert await asyncio.to_thread(stored, 2) == [(2,)]


async def test_a_threads_command_that_raises_is_undone_and_its_error_is_raised_there(recorder):
    run = await recorder.start()
    refused = recorder.writer.submit_from_thread(
        lambda tx: transactions.claim(tx, "nobody", "w", None)
    )
    appended = recorder.append(run, 1)
    with pytest.raises(NotFound):
        refused.result(PATIENCE)
    await appended


async def test_a_threads_command_that_was_cancelled_disturbs_nobody(recorder):
    gate = await held(recorder)
    cancelled = recorder.writer.submit_from_thread(lambda tx: "nobody waits")
    other = recorder.writer.submit_from_thread(lambda tx: "somebody waits")
    assert cancelled.cancel()
    await gate.let_go()
    assert other.result(PATIENCE) == "somebody waits"


async def test_a_thread_that_waits_for_a_dying_writer_gets_an_error_whatever_the_loop_does(
    recorder,
):
    gate = await held(recorder)
    left = [recorder.writer.submit_from_thread(lambda tx: None) for _ in range(3)]
    recorder.writer._jobs.put(("no job",))
    gate._open.set()
    for future in left:  # on the loop, which is needed for nothing of it
        with pytest.raises(StorageError):
            future.result(PATIENCE)
    with pytest.raises(StorageError, match="WRITER_GONE"):
        while True:
            recorder.writer.submit_from_thread(lambda tx: None).exception(PATIENCE)
