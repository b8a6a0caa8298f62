"""The log alone: concurrent runs append through the real `Database`, a reader per run follows.

`flat out`: each run appends one event, waits for its commit, appends the next. `paced`: 20 events per second and run.
Latency is from the call of `append` until the run's reader has the row. Also by itself: `python -m benchmarks.log`.
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
FILLER = b'{"type":"agent_chunk","span":"1.1","agent":"answer","role":"element","channel":"answer","text":"token "}'
END = "end"


class LogCase(msgspec.Struct, frozen=True):
    """Events per second, and seconds from append to reader."""

    load: str
    runs: int
    rate: float
    p50: float
    p99: float


def measure_log(runs: Sequence[int], seconds: float, folder: Path) -> list[LogCase]:
    """Measure both loads for each number of runs."""
    return [uvloop.run(_measure(count, pace, seconds, folder)) for pace in (None, PACE) for count in runs]


async def _measure(count: int, pace: float | None, seconds: float, folder: Path) -> LogCase:
    database = await open_database(f"sqlite:///{folder / f'log-{new_id()}.db'}")
    try:
        runs = [await _accept(database) for _ in range(count)]
        latencies: list[float] = []
        readers = [asyncio.create_task(_read(database, run, latencies)) for run in runs]
        began = time.perf_counter()
        await asyncio.gather(*(_append(database, run, pace, i / count, began + seconds) for i, run in enumerate(runs)))
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
    """An event whose time is the finest clock there is: the log does not look at it."""
    return NewEvent(type=kind, payload=FILLER, at=time.perf_counter_ns())


async def _append(database: Database, run: RunRecord, pace: float | None, phase: float, until: float) -> None:
    fence, emitted = Fence(run_id=run.id, epoch=run.lease_epoch), run.emitted
    due = time.perf_counter() + (phase / pace if pace else 0.0)
    while True:
        if pace:
            await asyncio.sleep(max(due - time.perf_counter(), 0.0))
            due += 1 / pace
        last = time.perf_counter() >= until
        await database.write(transactions.append, fence, emitted, [_event(END if last else "agent_chunk")])
        emitted += 1
        if last:
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
    """The result as Markdown."""
    lines = ["| load | runs | events/s | append → reader p50, ms | p99, ms |", "|---|--:|--:|--:|--:|"]
    lines += [f"| {c.load} | {c.runs} | {c.rate:,.0f} | {c.p50 * 1000:.2f} | {c.p99 * 1000:.2f} |" for c in cases]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-") as folder:
        print(log_table(measure_log((1, 50, 200), 2.0, Path(folder))))


if __name__ == "__main__":
    main()
