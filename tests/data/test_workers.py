"""Who is alive: told by locks that the kernel holds, and by a lease only where a lock is held."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from itertools import count

import pytest

from antiphon.data import open_database, reads, transactions
from antiphon.data.errors import Fenced
from antiphon.data.records import DAY_MS, Fence
from antiphon.data.transactions import Transaction
from antiphon.data.workers import WorkerLock, _state, boot_id, exclusive
from tests.data.support import acceptance, answered, notes, peer
from tests.support.deadline import DEADLINE

FOR_EVER = 3600.0


def test_a_held_lock_means_alive_and_a_released_one_dead(tmp_path):
    mine, other = WorkerLock(tmp_path), WorkerLock(tmp_path)
    assert not mine.is_dead(other.id)
    assert not mine.is_dead(mine.id)
    other.release()
    assert mine.is_dead(other.id)
    assert not mine.is_dead(mine.id)
    mine.release()


def test_a_worker_that_never_was_is_dead(tmp_path):
    lock = WorkerLock(tmp_path)
    assert lock.is_dead("nobody")
    lock.release()


def test_locks_leave_no_files_behind(tmp_path):
    (tmp_path / "killed.lock").touch()
    lock = WorkerLock(tmp_path)
    assert lock.is_dead("killed")
    lock.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.files
async def test_a_process_that_joins_removes_what_dead_ones_left_behind(path):
    locks = path.with_name(f"{path.name}-workers")
    with peer(path) as lives, peer(path) as other:
        other.kill()
        assert (locks / f"{other.worker_id}.lock").exists()
        joined = await open_database(f"sqlite:///{path}")
        names = {file.stem for file in locks.iterdir()}
        assert names == {"setup", lives.worker_id, joined.worker_id}
        assert not joined._backend._lock.is_dead(lives.worker_id)
        await joined.close()


async def test_workers_that_are_gone_for_long_are_forgotten(database):
    day = DAY_MS

    def beats(tx: Transaction) -> list[str]:
        for worker, boot, seen_at in (
            ("old", "b", 5),
            ("rebooted", "a", 2 * day),
            ("lives", "b", day + 5),
        ):
            tx.connection.execute("INSERT INTO workers VALUES (?,?,?)", (worker, seen_at, boot))
        transactions.heartbeat(tx, "me", "b", day + 6)
        return sorted(row[0] for row in tx.connection.execute("SELECT id FROM workers"))

    assert await database._writer.submit(beats) == ["lives", "me"]


def test_an_exclusive_section_admits_one_at_a_time(tmp_path):
    path = tmp_path / "deep" / "setup.lock"
    with exclusive(path):
        other = os.open(path, os.O_RDWR)
        with pytest.raises(BlockingIOError):
            _try(other)
    _try(other)
    os.close(other)


def _try(file: int) -> None:
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_one_boot_has_one_name():
    assert boot_id() == boot_id() != ""


@pytest.mark.files
async def test_a_process_is_alive_until_it_is_killed_and_dead_at_once(database, path):
    with peer(path) as other:
        run_id = other.accept()["run_id"]
        assert not database._backend._lock.is_dead(other.worker_id)
        assert await database.orphans(FOR_EVER) == []
        other.kill()
        assert database._backend._lock.is_dead(other.worker_id)
        (orphan,) = await database.orphans(FOR_EVER)
        assert (orphan.id, orphan.status, orphan.owner) == (run_id, "running", other.worker_id)


@pytest.mark.files
async def test_a_stopped_process_is_not_dead_until_its_lease_is_over(database, path):
    with peer(path) as other:
        run_id = other.accept()["run_id"]
        other.stop()
        assert not database._backend._lock.is_dead(other.worker_id)
        assert await database.orphans(FOR_EVER) == []
        for attempt in (
            count()
        ):  # the lease of nothing is over as soon as the clock has moved by a millisecond
            orphans = await database.orphans(0)
            if orphans:
                break
            assert attempt < 1000
        assert [run.id for run in orphans] == [run_id]


@pytest.mark.files
async def test_what_a_stopped_process_was_to_write_is_fenced_after_a_take_over(database, path):
    with peer(path) as other:
        run_id = other.accept()["run_id"]
        taken = await database.claim(run_id, database.worker_id, held_by=other.worker_id)
        assert taken.lease_epoch == 2
        with pytest.raises(Fenced):
            await database.write(transactions.append, Fence(run_id=run_id, epoch=1), 1, notes(1))
        assert (
            await database.write(transactions.append, Fence(run_id=run_id, epoch=2), 1, notes(1))
            == 2
        )


@pytest.mark.files
async def test_a_worker_that_blocks_the_file_for_ever_is_killed_by_the_one_that_takes_over(
    database, path
):
    with peer(path) as other:
        run_id = other.accept()["run_id"]
        other.block()
        other.process.send_signal(signal.SIGSTOP)
        taken = await database.claim(run_id, database.worker_id, held_by=other.worker_id)
        assert (taken.owner, taken.lease_epoch) == (database.worker_id, 2)
        assert other.process.wait(DEADLINE) == -signal.SIGKILL


def test_only_the_process_that_took_the_lock_is_killed(tmp_path):
    lock = WorkerLock(tmp_path)
    wait = [sys.executable, "-c", "input()"]
    with (
        subprocess.Popen(wait, stdin=subprocess.PIPE) as later,
        subprocess.Popen(wait, stdin=subprocess.PIPE) as same,
    ):
        (tmp_path / "gone.lock").write_text(
            f"{later.pid} 1"
        )  # its number was given to another process
        (tmp_path / "there.lock").write_text(f"{same.pid} {_state(same.pid)[1]}")
        for worker_id in ("gone", "there", "nobody"):
            lock.end(worker_id)
        assert same.poll() is None  # it runs: it is merely slow
        same.send_signal(signal.SIGSTOP)
        os.waitpid(same.pid, os.WUNTRACED)
        lock.end("there")
        later.communicate(b"\n")
        assert later.returncode == 0
        assert same.wait(DEADLINE) == -signal.SIGKILL
    lock.release()


@pytest.mark.files
async def test_of_many_that_try_to_take_a_run_over_one_succeeds(database, second, path):
    with peer(path) as other:
        run_id = other.accept()["run_id"]
        other.kill()
    claims = [
        one.claim(run_id, one.worker_id, held_by=other.worker_id)
        for one in (database, second)
        for _ in range(5)
    ]
    taken = [run for run in await asyncio.gather(*claims) if run is not None]
    assert len(taken) == 1
    assert await database.fetch(reads.run, run_id) == taken[0]


async def test_own_runs_are_no_orphans(database):
    await database.write(transactions.accept, acceptance(worker=database.worker_id))
    assert await database.orphans(0) == []


async def test_queued_runs_are_orphans_only_while_their_thread_is_idle(database):
    run = (await database.write(transactions.accept, acceptance(worker=database.worker_id))).run
    queued = (await database.write(transactions.accept, acceptance(thread_id=run.thread_id))).run
    assert await database.orphans(0) == []
    fence = Fence(run_id=run.id, epoch=1)
    await database.write(transactions.pause, fence, 1, notes(1))
    assert await database.orphans(0) == []
    await database.write(transactions.answer, run.id, database.worker_id, [], *answered(run))
    await database.write(
        transactions.finish,
        Fence(run_id=run.id, epoch=2),
        2,
        notes(1, "end"),
        status="failed",
        message=None,
        result=b"",
    )
    assert await database.orphans(0) == [queued]


async def test_only_own_running_runs_are_asked_to_stop(database):
    mine, theirs, finished = [
        (await database.write(transactions.accept, acceptance(worker=worker))).run
        for worker in (database.worker_id, "other", database.worker_id)
    ]
    assert await database.fetch(reads.cancel_requests, database.worker_id) == []
    for run in (mine, theirs, finished):
        await database.write(transactions.cancel, run.id, "ada", notes(1, "end"), b"")
    await database.write(
        transactions.finish,
        Fence(run_id=finished.id, epoch=1),
        1,
        notes(1, "end"),
        status="cancelled",
        message=None,
        result=b"",
    )
    assert [run.id for run in await database.fetch(reads.cancel_requests, database.worker_id)] == [
        mine.id
    ]


async def test_a_paused_run_that_was_asked_to_stop_is_found_by_somebody(database):
    run = (await database.write(transactions.accept, acceptance(worker=database.worker_id))).run
    await database.write(transactions.pause, Fence(run_id=run.id, epoch=1), 1, notes(1))
    accepted = await database.write(
        transactions.accept, acceptance(thread_id=run.thread_id, on_busy="interrupt")
    )
    assert accepted.interrupted == (run.id,)
    to_do = await database.orphans(0) + await database.fetch(
        reads.cancel_requests, database.worker_id
    )
    assert run.id in {one.id for one in to_do}
