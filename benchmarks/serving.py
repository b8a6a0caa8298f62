"""Measures the systems under one load after another, in interleaved rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.load import LoadPlan
from benchmarks.systems import System, free_port, model_server, system


class Load(msgspec.Struct, frozen=True):
    """The pace of the model, and the arrival of readers."""

    name: str
    tokens: int
    delay_ms: float
    """The pause between two tokens."""
    arrivals: float
    """Readers that come per second."""
    asks: int
    """The least number of questions in one measurement: few readers ask several times."""

    def plan(self, streams: int) -> LoadPlan:
        """Return the plan for this number of concurrent streams."""
        return LoadPlan(streams, max(self.asks // streams, 1), streams / self.arrivals)


class Measure(msgspec.Struct, frozen=True):
    """A system in one round: tokens/s, CPU seconds per 1000 tokens, seconds to the first token."""

    rate: float
    cpu: float
    first_p50: float
    first_p95: float
    per_event: float
    """Tokens that arrived together in one event, on average."""


class Case(msgspec.Struct, frozen=True):
    """A load with a number of streams: the model alone, and the rounds of each system."""

    load: Load
    streams: int
    model: Measure
    rounds: dict[str, list[Measure]]

    def middle(self, name: str, value: Callable[[Measure], float]) -> float:
        """Return the median of a system's rounds."""
        return median(map(value, self.rounds[name]))

    def ratio(self, name: str, base: str, value: Callable[[Measure], float]) -> float:
        """Return the median ratio of a system's value to that of `base` in the same round."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return median(value(over) / value(under) for over, under in pairs)


def measure_all(
    loads: Sequence[Load],
    streams: Sequence[int],
    names: Sequence[str],
    rounds: int,
    note: Callable[[str], None],
) -> list[Case]:
    """Measure all cases. The systems are started once and take turns; each load has its own model.

    `note` is called with the progress.
    """
    cases = []
    with ExitStack() as stack:
        folder = stack.enter_context(TemporaryDirectory(prefix="antiphon-bench-"))
        port = free_port()
        systems = {name: stack.enter_context(system(name, port, Path(folder))) for name in names}
        for load in loads:
            with model_server(port, load.tokens, load.delay_ms) as model:
                note(f"{load.name}: warming up")
                model.warm()
                with ThreadPoolExecutor() as warmers:
                    list(warmers.map(System.warm, systems.values()))
                for count in streams:
                    note(f"{load.name}: {count} streams")
                    alone = _measure(model, load, count)
                    measures: dict[str, list[Measure]] = {name: [] for name in systems}
                    for _ in range(rounds):
                        for name, process in systems.items():
                            measures[name].append(_measure(process, load, count))
                    cases.append(Case(load, count, alone, measures))
    return cases


def _measure(process: System, load: Load, streams: int) -> Measure:
    """Play a load once. Raises `RuntimeError` if a token was lost or repeated."""
    plan = load.plan(streams)
    before = process.cpu()
    played = process.play(plan)
    cpu = process.cpu() - before
    expected = plan.streams * plan.each * load.tokens
    tokens = sum(answer.tokens for answer in played.answers)
    if tokens != expected:
        raise RuntimeError(f"{tokens} tokens arrived instead of {expected}")
    firsts = sorted(answer.first for answer in played.answers)
    return Measure(
        rate=tokens / played.seconds,
        cpu=cpu / tokens * 1000,
        first_p50=quantile(firsts, 0.5),
        first_p95=quantile(firsts, 0.95),
        per_event=tokens / sum(answer.pieces for answer in played.answers),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest value that is not exceeded by this share of all values."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
