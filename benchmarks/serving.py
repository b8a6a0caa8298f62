"""Measures the systems under one load after the other, in interleaved rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.load import Plan
from benchmarks.systems import System, free_port, model_server, system


class Load(msgspec.Struct, frozen=True):
    """How the model talks, and how readers come."""

    name: str
    tokens: int
    delay_ms: float
    """Between two tokens."""
    arrivals: float
    """Readers that come per second."""
    asks: int
    """Questions in one measurement at least: few readers ask several times in a row."""

    def plan(self, streams: int) -> Plan:
        """The plan for so many streams at once."""
        return Plan(streams, max(self.asks // streams, 1), streams / self.arrivals)


class Measure(msgspec.Struct, frozen=True):
    """One system in one round: tokens per second, CPU seconds per 1000 tokens, seconds to the first token."""

    rate: float
    cpu: float
    first_p50: float
    first_p95: float
    per_event: float
    """Tokens that arrived together, in one event."""


class Case(msgspec.Struct, frozen=True):
    """One load with one number of streams: the model alone, and the rounds of each system."""

    load: Load
    streams: int
    model: Measure
    rounds: dict[str, list[Measure]]

    def middle(self, name: str, value: Callable[[Measure], float]) -> float:
        """The median of a system's rounds."""
        return median(map(value, self.rounds[name]))

    def ratio(self, name: str, base: str, value: Callable[[Measure], float]) -> float:
        """The median of a system's values divided by another one's of the same round."""
        pairs = zip(self.rounds[name], self.rounds[base], strict=True)
        return median(value(over) / value(under) for over, under in pairs)


def measure_all(
    loads: Sequence[Load],
    streams: Sequence[int],
    names: Sequence[str],
    rounds: int,
    note: Callable[[str], None],
) -> list[Case]:
    """Start the systems once, then measure case by case, the systems in turns. Each load has a model of its own."""
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
                    turns = [
                        {name: _measure(one, load, count) for name, one in systems.items()}
                        for _ in range(rounds)
                    ]
                    cases.append(
                        Case(
                            load,
                            count,
                            alone,
                            {name: [turn[name] for turn in turns] for name in systems},
                        )
                    )
    return cases


def _measure(one: System, load: Load, streams: int) -> Measure:
    plan = load.plan(streams)
    before = one.cpu()
    played = one.play(plan)
    cpu = one.cpu() - before
    expected, tokens = (
        plan.streams * plan.each * load.tokens,
        sum(answer.tokens for answer in played.answers),
    )
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
    """The smallest value that `share` of them do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
