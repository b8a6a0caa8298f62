"""The log against a model: any order of accepting, writing, losing, claiming, stopping, crashing.

The model is plain records in dictionaries. After every step all tables are compared with it through
a connection that the database object does not use, and the rules of the log are checked on them.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections import Counter
from collections.abc import Awaitable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from antiphon.data import open_database, reads, transactions
from antiphon.data.errors import Busy, Fenced, IdempotencyConflict, NotFound, StorageError
from antiphon.data.records import Accepted, Fence, Message, NewEvent, Row, RunRecord, Thread
from tests.data.support import acceptance, answered, checkpoint, note, reply, stored, task_write
from tests.support.size import trials

PICK = st.integers(0, 7)
COUNT = st.integers(1, 3)
WORKER = st.sampled_from(["w1", "w2"])
USER = st.sampled_from(["ada", "bob"])
TAKEN = ("running", "interrupted")


class LogMachine(RuleBasedStateMachine):
    """Every rule tells the model first what must happen, then makes the database do it."""

    # -- the model ---------------------------------------------------------------------------------

    @initialize()
    def open(self) -> None:
        self.runner = asyncio.Runner()
        self.url = self.make_url()
        self.threads: dict[str, Thread] = {}
        self.runs: dict[str, RunRecord] = {}
        self.rows: list[Row] = []
        self.messages: dict[str, Message] = {}
        self.spent: Counter[str] = Counter()
        self.names: dict[tuple[str, str], str] = {}
        self.requests: dict[tuple[str, str], tuple[bytes, str]] = {}
        self.fences: list[Fence] = []
        self.last_append: dict[str, tuple[Fence, int, list[NewEvent]]] = {}
        self.last_finish: dict[str, tuple[Fence, int, list[NewEvent], str, Message | None]] = {}
        self.ledger: dict[tuple[str, int], Row] = {}
        self.epochs: dict[str, int] = {}
        self.now = 0
        self._open()

    def make_url(self) -> str:
        return "memory://"

    def _open(self) -> None:
        self.database = self.do(open_database(self.url))
        self.outside = self.database._backend.connect()

    def _close(self) -> None:
        self.outside.close()
        self.do(self.database.close())

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self._close()
            self.runner.close()

    def do(self, wanted: Awaitable[Any]) -> Any:
        async def body() -> Any:
            return await wanted

        return self.runner.run(body())

    def refused(self, wanted: Awaitable[Any], error: type[StorageError]) -> None:
        try:
            self.do(wanted)
        except error:
            return
        raise AssertionError(f"was not refused with {error.__name__}")

    def tick(self) -> int:
        self.now += 1
        return self.now

    def events(self, count: int, last: str | None = None) -> list[NewEvent]:
        """New events, different from all others; the last one may have another type."""
        made = [note(b"%d" % self.tick(), at=self.now) for _ in range(count)]
        return [*made[:-1], replace(made[-1], type=last)] if last else made

    def number(self, run: RunRecord, attempt: int, events: Sequence[NewEvent]) -> None:
        thread = self.threads[run.thread_id]
        for seq, event in enumerate(events, thread.last_seq + 1):
            self.rows.append(
                Row(
                    thread_id=thread.id,
                    seq=seq,
                    run_id=run.id,
                    attempt=attempt,
                    type=event.type,
                    at=event.at,
                    payload=event.payload,
                )
            )
        self.threads[thread.id] = replace(thread, last_seq=thread.last_seq + len(events))

    def say(self, message: Message, **thread: Any) -> None:
        self.messages[message.id] = message
        said = replace(self.threads[message.thread_id], updated_at=message.created_at, **thread)
        self.threads[message.thread_id] = said

    def said(self, messages: Iterable[Message]) -> list[Message]:
        """Without replies of which nothing was said yet."""
        return [
            message
            for message in messages
            if message.role == "user" or message.content or not message.partial
        ]

    def change(self, run: RunRecord, **fields: Any) -> RunRecord:
        self.runs[run.id] = replace(self.runs[run.id], **fields)
        return self.runs[run.id]

    def ask_to_stop(self, run: RunRecord, by: str) -> RunRecord:
        """Of a run that has begun: a paused one is queued, for an execution that ends it."""
        status = "queued" if run.status == "interrupted" else run.status
        return self.change(run, status=status, cancel_requested_by=run.cancel_requested_by or by)

    def end(
        self, run: RunRecord, status: str, result: bytes, events: Sequence[NewEvent]
    ) -> RunRecord:
        """`events`, which have just been numbered, end the run."""
        return self.change(
            run,
            status=status,
            owner=None,
            emitted=run.emitted + len(events),
            result=result,
            last_seq=self.threads[run.thread_id].last_seq,
            finished_at=events[-1].at,
        )

    def lease(self, run: RunRecord, worker: str, charge: int, crash: int = 0) -> RunRecord:
        run = self.change(
            run,
            status="running",
            owner=worker,
            lease_epoch=run.lease_epoch + 1,
            attempt=run.attempt + charge,
            charges=run.charges + charge,
            crashes=run.crashes + crash,
        )
        self.fences.append(self.fence(run))
        return run

    def fence(self, run: RunRecord) -> Fence:
        return Fence(run_id=run.id, epoch=run.lease_epoch)

    def of_thread(self, thread_id: str, *statuses: str) -> list[RunRecord]:
        """Runs of a thread with one of some statuses, the oldest first."""
        return [
            run
            for run in self.runs.values()
            if run.thread_id == thread_id and run.status in statuses
        ]

    def successor(self, thread_id: str) -> str | None:
        waiting = self.of_thread(thread_id, "queued")
        return waiting[0].id if waiting else None

    def pick(self, number: int, *statuses: str) -> RunRecord:
        """One of the runs (with one of some statuses), the youngest for 0."""
        among = [run for run in self.runs.values() if not statuses or run.status in statuses]
        return among[-1 - number % len(among)]

    def any(self, *statuses: str) -> bool:
        return any(run.status in statuses for run in self.runs.values())

    # -- accept ------------------------------------------------------------------------------------

    @rule(
        user=USER,
        where=st.sampled_from(["new", "known", "known", "known", "named"]),
        number=PICK,
        name=st.sampled_from("xy"),
        worker=WORKER,
        on_busy=st.sampled_from(["enqueue", "enqueue", "reject", "interrupt", "rollback"]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        digest=st.sampled_from([b"1", b"2"]),
        count=COUNT,
    )
    def accept(self, user, where, number, name, worker, on_busy, key, digest, count):
        first_events = self.events(count)
        seen: list[tuple[Thread, Message]] = []

        def events(thread: Thread, message: Message) -> list[NewEvent]:
            seen.append((thread, message))
            return first_events

        known = list(self.threads.values())
        thread = known[number % len(known)] if where == "known" and known else None
        if where == "named" and (user, name) in self.names:
            thread = self.threads[self.names[user, name]]
        given = acceptance(
            run_id=f"run {len(self.runs)}",
            message_id=f"question {len(self.runs)}",
            reply_message_id=f"reply {len(self.runs)}",
            user_id=user,
            worker=worker,
            at=self.tick(),
            events=events,
            thread_id=thread.id if thread and where == "known" else None,
            thread_name=("chat", name) if where == "named" else None,
            idempotency=(key, digest) if key else None,
            on_busy=on_busy,
        )
        wanted = self.database.write(transactions.accept, given)
        if used := self.requests.get((user, str(key))):
            if used[0] != digest:
                return self.refused(wanted, IdempotencyConflict)
            assert self.do(wanted) == Accepted(run=self.runs[used[1]], created=False)
            return None
        if thread and thread.user_id != user:
            return self.refused(wanted, NotFound)
        active = self.of_thread(thread.id, "queued", *TAKEN) if thread else []
        if active and on_busy == "reject":
            return self.refused(wanted, Busy)

        accepted = self.do(wanted)
        ((before, message),) = seen
        if thread is None:
            assert before.id not in self.threads
            thread = Thread(
                id=before.id,
                user_id=user,
                title=None,
                created_at=given.at,
                updated_at=given.at,
                last_seq=0,
                head_message_id=None,
            )
            self.threads[thread.id] = thread
        assert before == thread
        rolled_back = on_busy == "rollback" and active
        parent_id = (
            self.messages[active[0].input_message_id].parent_id
            if rolled_back
            else thread.head_message_id
        )
        assert (message.id, message.content, message.parent_id) == (
            given.message_id,
            "hello",
            parent_id,
        )
        run = RunRecord(
            id=given.run_id,
            thread_id=thread.id,
            user_id=user,
            graph="team",
            status="queued",
            input=b"{}",
            input_message_id=given.message_id,
            reply_message_id=given.reply_message_id,
            attempt=0,
            charges=0,
            crashes=0,
            lease_epoch=0,
            owner=None,
            emitted=count,
            first_seq=thread.last_seq + 1,
            last_seq=None,
            cancel_requested_by=None,
            result=None,
            created_at=given.at,
            finished_at=None,
        )
        self.runs[run.id] = run
        self.say(message)
        place = reply(run, content="", partial=True, created_at=given.at)
        self.say(place, head_message_id=place.id)
        self.number(run, 1, first_events)
        if key:
            self.requests[user, key] = (digest, run.id)
        if where == "named":
            self.names[user, name] = thread.id
        if not active:
            run = self.lease(run, worker, charge=1)
        interrupted = active if on_busy in ("interrupt", "rollback") else []
        for other in interrupted:
            self.ask_to_stop(other, user)
        assert accepted.created
        assert accepted.run == run
        assert accepted.interrupted == tuple(other.id for other in interrupted)
        return None

    # -- the holder --------------------------------------------------------------------------------

    @precondition(lambda self: self.any("running"))
    @rule(number=PICK, count=st.integers(0, 3), completes_a_task=st.booleans())
    def append(self, number, count, completes_a_task):
        run = self.pick(number, "running")
        events = self.events(count)
        writes = [("", "c1", task_write(self.tick()))] if completes_a_task else []
        last = self.do(
            self.database.write(
                transactions.append, self.fence(run), run.emitted, events, writes, completes_a_task
            )
        )
        self.last_append[run.id] = (self.fence(run), run.emitted, events)
        self.number(run, run.attempt, events)
        self.change(
            run, emitted=run.emitted + count, charges=1 if completes_a_task else run.charges
        )
        assert last == (self.threads[run.thread_id].last_seq if count else 0)

    @precondition(lambda self: self.last_append)
    @rule(number=PICK)
    def append_again_because_the_answer_was_lost(self, number):
        fence, expected, events = list(self.last_append.values())[
            -1 - number % len(self.last_append)
        ]
        run = self.runs[fence.run_id]
        wanted = self.database.write(transactions.append, fence, expected, events)
        stored = self.fence(run) == fence and run.emitted == expected + len(events)
        if stored and (events or run.status == "running"):
            assert self.do(wanted) == 0
        else:
            self.refused(wanted, Fenced)

    @precondition(lambda self: self.any("running"))
    @rule(number=PICK, count=COUNT)
    def put_checkpoint(self, number, count):
        run = self.pick(number, "running")
        events = self.events(count)
        self.do(
            self.database.write(
                transactions.put_checkpoint, self.fence(run), run.emitted, events, checkpoint()
            )
        )
        self.number(run, run.attempt, events)
        self.change(run, emitted=run.emitted + count)

    @precondition(lambda self: self.any("running"))
    @rule(
        number=PICK,
        count=COUNT,
        status=st.sampled_from(["completed", "failed", "cancelled"]),
        replies=st.booleans(),
        tokens=st.integers(0, 9),
    )
    def finish(self, number, count, status, replies, tokens):
        run = self.pick(number, "running")
        events = self.events(count, last="end")
        message = (
            reply(run, created_at=self.now, parent_id=self.messages[run.reply_message_id].parent_id)
            if replies
            else None
        )
        fence, expected = self.fence(run), run.emitted
        following = self.do(
            self.database.write(
                transactions.finish,
                fence,
                expected,
                events,
                status=status,
                message=message,
                result=b"result",
                tokens=tokens,
            )
        )
        self.spent[run.user_id] += tokens
        self.last_finish[run.id] = (fence, expected, events, status, message)
        self.number(run, run.attempt, events)
        if message:
            self.say(message)
        self.end(run, status, b"result", events)
        assert following == self.successor(run.thread_id)

    @precondition(lambda self: self.last_finish)
    @rule(number=PICK)
    def finish_again_because_the_answer_was_lost(self, number):
        fence, expected, events, status, message = list(self.last_finish.values())[
            -1 - number % len(self.last_finish)
        ]
        following = self.do(
            self.database.write(
                transactions.finish,
                fence,
                expected,
                events,
                status=status,
                message=message,
                result=b"result",
                tokens=5,
            )
        )
        assert following == self.successor(self.runs[fence.run_id].thread_id)

    @precondition(lambda self: self.any("running"))
    @rule(number=PICK, count=COUNT)
    def pause(self, number, count):
        run = self.pick(number, "running")
        events = self.events(count)
        for _ in range(2):  # once more, because the answer was lost
            self.do(self.database.write(transactions.pause, self.fence(run), run.emitted, events))
        self.number(run, run.attempt, events)
        status = "queued" if run.cancel_requested_by else "interrupted"
        self.change(run, status=status, owner=None, emitted=run.emitted + count)

    @precondition(lambda self: self.any("running"))
    @rule(number=PICK, charged=st.booleans())
    def hand_back(self, number, charged):
        run = self.pick(number, "running")
        self.do(self.database.write(transactions.hand_back, self.fence(run), charged=charged))
        self.change(run, status="queued", owner=None, charges=max(run.charges - (not charged), 0))

    # -- those who have lost the right to write ----------------------------------------------------

    @precondition(
        lambda self: any(fence.epoch < self.runs[fence.run_id].lease_epoch for fence in self.fences)
    )
    @rule(
        number=PICK,
        count=COUNT,
        behind=st.integers(0, 2),
        what=st.sampled_from(
            ["append", "checkpoint", "bare checkpoint", "finish", "pause", "hand back"]
        ),
    )
    def write_with_a_stale_epoch(self, number, count, behind, what):
        stale = [
            fence for fence in self.fences if fence.epoch < self.runs[fence.run_id].lease_epoch
        ]
        self.write_in_vain(stale[-1 - number % len(stale)], count, behind, what)

    @precondition(
        lambda self: self.any("queued", "interrupted", "completed", "failed", "cancelled")
    )
    @rule(
        number=PICK,
        count=COUNT,
        what=st.sampled_from(["append", "checkpoint", "finish", "pause", "hand back"]),
    )
    def write_without_holding_the_run(self, number, count, what):
        run = self.pick(number, "queued", "interrupted", "completed", "failed", "cancelled")
        self.write_in_vain(self.fence(run), count, 0, what)

    def write_in_vain(self, fence: Fence, count: int, behind: int, what: str) -> None:
        expected = max(self.runs[fence.run_id].emitted - behind, 0)
        events = self.events(count, last="end")
        if what == "hand back":
            self.do(self.database.write(transactions.hand_back, fence, charged=False))
            return
        wanted = {
            "append": lambda: self.database.write(
                transactions.append, fence, expected, events, [("", "c1", task_write())]
            ),
            "checkpoint": lambda: self.database.write(
                transactions.put_checkpoint, fence, expected, events, checkpoint()
            ),
            "bare checkpoint": lambda: self.database.write(
                transactions.put_checkpoint, fence, expected, [], checkpoint()
            ),
            "finish": lambda: self.database.write(
                transactions.finish,
                fence,
                expected,
                events,
                status="completed",
                message=None,
                result=b"wrong",
            ),
            "pause": lambda: self.database.write(transactions.pause, fence, expected, events),
        }[what]
        self.refused(wanted(), Fenced)

    # -- claiming, answering, stopping -------------------------------------------------------------

    @precondition(lambda self: self.runs)
    @rule(number=PICK, worker=WORKER)
    def claim(self, number, worker):
        run = self.pick(number)
        idle = not self.of_thread(run.thread_id, *TAKEN)
        got = self.do(self.database.claim(run.id, worker))
        if idle and self.successor(run.thread_id) == run.id:
            assert got == self.lease(run, worker, charge=1)
        else:
            assert got is None

    @precondition(lambda self: self.any("queued"))
    @rule(number=PICK, worker=WORKER)
    def claim_a_queued_run(self, number, worker):
        self.claim(
            list(self.runs).index(self.pick(number, "queued").id) - len(self.runs) + 1, worker
        )

    @precondition(lambda self: self.any("running"))
    @rule(number=PICK, worker=WORKER, held_by=WORKER)
    def take_over(self, number, worker, held_by):
        run = self.pick(number, "running")
        got = self.do(self.database.claim(run.id, worker, held_by=held_by))
        assert got == (self.lease(run, worker, charge=1, crash=1) if run.owner == held_by else None)

    @precondition(lambda self: self.any("interrupted"))
    @rule(number=PICK, worker=WORKER, count=COUNT, key=st.sampled_from([None, "k1", "k3"]))
    def answer(self, number, worker, count, key):
        run = self.pick(number, "interrupted")
        events = self.events(count)
        request = (run.user_id, str(key))
        remembered = (*request, b"1") if key and request not in self.requests else None
        message, reply_id = answered(run, created_at=self.tick())
        got = self.do(
            self.database.write(
                transactions.answer, run.id, worker, events, message, reply_id, remembered
            )
        )
        self.put_behind(run, message, reply_id)
        if remembered:
            self.requests[request] = (b"1", run.id)
        self.number(run, run.attempt, events)
        self.lease(run, worker, charge=0)
        assert got == self.change(run, emitted=run.emitted + count)

    def put_behind(self, run: RunRecord, message: Message, reply_id: str) -> None:
        """An answer behind the question, the next reply behind it, and what waited behind that."""
        for one in list(self.messages.values()):
            if one.parent_id == run.reply_message_id:
                self.messages[one.id] = replace(one, parent_id=reply_id)
        head = self.threads[run.thread_id].head_message_id
        self.say(message)
        place = replace(
            message,
            id=reply_id,
            role="assistant",
            content="",
            parent_id=message.id,
            author=None,
            partial=True,
        )
        self.say(place, head_message_id=reply_id if head == run.reply_message_id else head)
        self.change(run, reply_message_id=reply_id)

    @precondition(lambda self: self.runs)
    @rule(number=PICK, worker=WORKER)
    def answer_what_was_not_asked(self, number, worker):
        run = self.pick(number)
        if run.status != "interrupted":
            assert (
                self.do(
                    self.database.write(
                        transactions.answer, run.id, worker, self.events(1), *answered(run)
                    )
                )
                is None
            )

    @precondition(lambda self: self.runs)
    @rule(number=PICK, user=USER, count=COUNT)
    def cancel(self, number, user, count):
        run = self.pick(number)
        events = self.events(count, last="end")
        got = self.do(self.database.write(transactions.cancel, run.id, user, events, b"stopped"))
        if run.attempt and not run.ended:
            self.ask_to_stop(run, user)
        elif not run.ended:
            self.number(run, 1, events)
            self.end(run, "cancelled", b"stopped", events)
        assert got == self.runs[run.id]

    # -- reading -----------------------------------------------------------------------------------

    @precondition(lambda self: self.threads)
    @rule(number=PICK, after=st.integers(0, 30), limit=st.integers(0, 10))
    def read(self, number, after, limit):
        thread = list(self.threads)[number % len(self.threads)]
        expected = [row for row in self.rows if row.thread_id == thread and row.seq > after][:limit]
        assert self.do(self.database.read(thread, after, limit)) == expected

    @precondition(lambda self: self.threads)
    @rule(number=PICK)
    def look(self, number):
        thread = self.threads[list(self.threads)[number % len(self.threads)]]
        runs = self.of_thread(
            thread.id, "queued", "running", "interrupted", "completed", "failed", "cancelled"
        )
        assert self.do(self.database.fetch(reads.thread, thread.id)) == thread
        assert self.do(self.database.fetch(reads.run, runs[0].id)) == runs[0]
        messages = [message for message in self.messages.values() if message.thread_id == thread.id]
        assert self.do(self.database.fetch(reads.messages_of, thread.id)) == self.said(messages)
        path = [messages[number % len(messages)]]
        while path[0].parent_id:
            path.insert(0, self.messages[path[0].parent_id])
        assert self.do(self.database.fetch(reads.branch, path[-1].id)) == self.said(path)
        active = [
            run for run in self.runs.values() if run.user_id == thread.user_id and not run.ended
        ]
        under_way = [run for run in active if run.status != "interrupted"]
        assert self.do(self.database.fetch(reads.active_runs, thread.user_id)) == len(under_way)
        assert (
            self.do(self.database.fetch(reads.tokens_used, thread.user_id, self.now))
            == self.spent[thread.user_id]
        )
        mine = [one for one in self.threads.values() if one.user_id == thread.user_id]
        assert {
            one.id for one in self.do(self.database.fetch(reads.threads_of, thread.user_id, 100))
        } == {one.id for one in mine}
        for (user, key), (digest, run_id) in self.requests.items():
            assert (
                self.do(self.database.write(transactions.repeated, user, key, digest))
                == self.runs[run_id]
            )
        for (user, name), thread_id in self.names.items():
            assert (
                self.do(self.database.fetch(reads.named_thread, user, "chat", name))
                == self.threads[thread_id]
            )

    @rule()
    def look_for_orphans(self):
        """The workers of this test hold no lock, so all that they run is orphaned."""
        expected = [
            run.id
            for run in self.runs.values()
            if run.status == "running"
            or (run.status == "queued" and not self.of_thread(run.thread_id, *TAKEN))
        ]
        assert sorted(run.id for run in self.do(self.database.orphans(3600))) == sorted(expected)

    # -- the rules of the log ----------------------------------------------------------------------

    @invariant()
    def the_database_is_what_the_model_says(self):
        if not hasattr(self, "runner"):
            return
        rows = stored(self.outside, Row)
        assert rows == sorted(self.rows, key=lambda row: (row.thread_id, row.seq))
        runs = {run.id: run for run in stored(self.outside, RunRecord)}
        assert runs == self.runs
        assert {thread.id: thread for thread in stored(self.outside, Thread)} == self.threads
        messages = stored(self.outside, Message)
        assert len(messages) == len(self.messages)
        assert {message.id: message for message in messages} == self.messages
        self.rules_hold(rows, runs)

    def rules_hold(self, rows: list[Row], runs: dict[str, RunRecord]) -> None:
        """Said again without the model: what any reader of the tables may rely on."""
        seqs: dict[str, list[int]] = {}
        for row in rows:
            seqs.setdefault(row.thread_id, []).append(row.seq)
            assert self.ledger.setdefault((row.thread_id, row.seq), row) == row, "a row changed"
        assert len(self.ledger) == len(rows), "a row vanished"
        assert all(found == list(range(1, len(found) + 1)) for found in seqs.values()), (
            "numbers are not dense"
        )

        taken = Counter(run.thread_id for run in runs.values() if run.status in TAKEN)
        assert all(count == 1 for count in taken.values()), "two runs of a thread are under way"
        for run in runs.values():
            types = [row.type for row in rows if row.run_id == run.id]
            ends = [number for number, kind in enumerate(types, 1) if kind == "end"]
            assert ends == ([len(types)] if run.ended else []), "not exactly one end, at the end"
            assert run.emitted == len(types)
            assert self.epochs.get(run.id, 0) <= run.lease_epoch, "an epoch went back"
            self.epochs[run.id] = run.lease_epoch
            if run.ended:
                for table in ("checkpoints", "checkpoint_writes"):
                    left = self.outside.execute(
                        f"SELECT count(*) FROM {table} WHERE run_id = ?", (run.id,)
                    ).fetchone()
                    assert left == (0,), "an ended run keeps checkpoints"


class FileLogMachine(LogMachine):
    """The same on a file, which outlives the database that has it open."""

    def make_url(self) -> str:
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "log.db"
        return f"sqlite:///{self.path}"

    def teardown(self) -> None:
        super().teardown()
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)

    @rule()
    def close_and_reopen(self):
        self._close()
        self._open()

    @rule()
    def crash_and_reopen(self):
        """A killed process leaves the file and its write-ahead log as they are."""
        left = self.folder / f"after crash {self.tick()}.db"
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copyfile(f"{self.path}{suffix}", f"{left}{suffix}")
        self._close()
        self.path = left
        self.url = f"sqlite:///{left}"
        self._open()


TestLog = FileLogMachine.TestCase
TestLog.settings = settings(
    max_examples=trials(30, 12),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLogInMemory = LogMachine.TestCase
TestLogInMemory.settings = settings(TestLog.settings, max_examples=trials(10, 4))
