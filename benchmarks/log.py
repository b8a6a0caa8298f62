"""Measures the log alone: concurrent runs append to the real `Database`, with a reader for each.

Under `flat out`, each run appends one event, waits for its commit, and appends the next; under
`paced`, it appends 20 events per second. The latency is from the call of `append` until the run's
reader has the row. `python -m benchmarks.log` runs it by itself.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from antiphon.data import open_database, transactions
from antiphon.data.database import Database
from antiphon.data.ids import new_id
from antiphon.data.records import Acceptance, Fence, NewEvent, RunRecord
from benchmarks.serving import quantile

PACE = 20.0
"""Events per second of a paced run."""
FILLER = (
    b'{"type":"agent_chunk","span":"1.1","agent":"answer","role":"element",'
    b'"channel":"answer","text":"token "}'
)
"""The payload of every event."""
END = "end"
"""The type of a run's last event."""


class LogCase(msgspec.Struct, frozen=True):
    """Events per second, and seconds from the append to the reader."""

    load: str
    runs: int
    rate: float
    p50: float
    p99: float


def measure_log(runs: Sequence[int], seconds: float, folder: Path) -> list[LogCase]:
    """Measure both loads for each number of runs, each for so many seconds."""
    return [
        uvloop.run(_measure(count, pace, seconds, folder))
        for pace in (None, PACE)
        for count in runs
    ]


async def _measure(count: int, pace: float | None, seconds: float, folder: Path) -> LogCase:
    database = await open_database(f"sqlite:///{folder / f'log-{new_id()}.db'}")
    try:
        runs = [await _accept(database) for _ in range(count)]
        latencies: list[float] = []
        readers = [asyncio.create_task(_read(database, run, latencies)) for run in runs]
        began = time.perf_counter()
        writers = [
            _append(database, run, pace, number / count, began + seconds)
            for number, run in enumerate(runs)
        ]
        await asyncio.gather(*writers)
        await asyncio.gather(*readers)
        took = time.perf_counter() - began
    finally:
        await database.close()
    latencies.sort()
    return LogCase(
        load="paced" if pace else "flat out",
        runs=count,
        rate=len(latencies) / took,
        p50=quantile(latencies, 0.5),
        p99=quantile(latencies, 0.99),
    )


async def _accept(database: Database) -> RunRecord:
    acceptance = Acceptance(
        run_id=new_id(),
        message_id=new_id(),
        reply_message_id=new_id(),
        user_id="bench",
        graph="bench",
        content="Hello",
        input=b"{}",
        at=0,
        worker=database.worker_id,
        events=lambda _thread, _message: [_event("run_start")],
    )
    return (await database.write(transactions.accept, acceptance)).run


def _event(kind: str) -> NewEvent:
    """Return an event. Its time is the finest clock, because the log does not read it."""
    return NewEvent(type=kind, payload=FILLER, at=time.perf_counter_ns())


async def _append(
    database: Database, run: RunRecord, pace: float | None, phase: float, until: float
) -> None:
    fence, emitted = Fence(run_id=run.id, epoch=run.lease_epoch), run.emitted
    due = time.perf_counter() + (phase / pace if pace else 0.0)
    while True:
        if pace:
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            due += 1 / pace
        is_last = time.perf_counter() >= until
        event = _event(END if is_last else "agent_chunk")
        await database.write(transactions.append, fence, emitted, [event])
        emitted += 1
        if is_last:
            return


async def _read(database: Database, run: RunRecord, latencies: list[float]) -> None:
    after, ended = run.first_seq, False
    with database.watch(run.thread_id) as watch:
        while not ended:
            watch.clear()
            rows = await database.read(run.thread_id, after, 256)
            now = time.perf_counter_ns()
            for row in rows:
                latencies.append((now - row.at) / 1e9)
                after, ended = row.seq, row.type == END
            if not rows:
                await watch.wait()


def log_table(cases: Sequence[LogCase]) -> str:
    """Return the result as a Markdown table."""
    lines = [
        "| load | runs | events/s | append → reader p50, ms | p99, ms |",
        "|---|--:|--:|--:|--:|",
    ]
    lines += [
        f"| {case.load} | {case.runs} | {case.rate:,.0f}"
        f" | {case.p50 * 1000:.2f} | {case.p99 * 1000:.2f} |"
        for case in cases
    ]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-") as folder:
        print(log_table(measure_log((1, 50, 200), 2.0, Path(folder))))


if __name__ == "__main__":
    main()
