"""Writes results as Markdown tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.serving import Case, Measure
from benchmarks.systems import MODEL, PASSTHROUGH, RAW

HEAD = (
    "| load | streams | system | tokens/s | CPU s per 1000 tokens | first token +ms, p50 | p95"
    " | tokens per event |\n|---|--:|---|--:|--:|--:|--:|--:|"
)


def serving_table(cases: Sequence[Case]) -> str:
    """Return a table with a row per system; after each value are its ratios to a and to b."""
    return "\n".join([HEAD, *(row for case in cases for row in _rows(case))])


def split_table(short: Sequence[Case], long: Sequence[Case]) -> str:
    """Return the CPU time per run and per token, by the line through two lengths of answer."""
    lines = ["| streams | system | CPU ms per run | CPU µs per token |", "|--:|---|--:|--:|"]
    for few, many in zip(short, long, strict=True):
        for name in many.rounds:
            low, high = _cpu_per_run(few, name), _cpu_per_run(many, name)
            per_token = (high - low) / (many.load.tokens - few.load.tokens)
            per_run = low - few.load.tokens * per_token
            lines.append(f"| {many.streams} | {name} | {per_run:.1f} | {per_token * 1000:.0f} |")
    return "\n".join(lines)


def _cpu_per_run(case: Case, name: str) -> float:
    """Return the CPU time of one answer, in ms."""
    return case.load.tokens * case.middle(name, lambda measure: measure.cpu)


def _rows(case: Case) -> Iterator[str]:
    def extra_p50(measure: Measure) -> float:
        return (measure.first_p50 - case.model.first_p50) * 1000

    def extra_p95(measure: Measure) -> float:
        return (measure.first_p95 - case.model.first_p50) * 1000

    def cell(name: str, form: str, value: Callable[[Measure], float]) -> str:
        bases = [base for base in (RAW, PASSTHROUGH) if base in case.rounds and base < name]
        ratios = ", ".join(f"{case.ratio(name, base, value):.2f}" for base in bases)
        return format(case.middle(name, value), form) + (f" ({ratios})" if ratios else "")

    alone = case.model
    yield _row(
        case,
        MODEL,
        f"{alone.rate:,.0f}",
        f"{alone.cpu:.3f}",
        f"[{alone.first_p50 * 1000:.1f}]",
        "",
        f"{alone.per_event:.1f}",
    )
    for name in case.rounds:
        yield _row(
            case,
            name,
            cell(name, ",.0f", lambda measure: measure.rate),
            cell(name, ".3f", lambda measure: measure.cpu),
            cell(name, ".1f", extra_p50),
            cell(name, ".1f", extra_p95),
            f"{case.middle(name, lambda measure: measure.per_event):.1f}",
        )


def _row(case: Case, *cells: str) -> str:
    return f"| {case.load.name} | {case.streams} | {' | '.join(cells)} |"
