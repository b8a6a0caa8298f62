"""Results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from benchmarks.serving import Case, Measure
from benchmarks.systems import MODEL, PASSTHROUGH, RAW

HEAD = """\
| load | streams | system | tokens/s | CPU s per 1000 tokens | first token +ms, p50 | p95 | tokens per event |
|---|--:|---|--:|--:|--:|--:|--:|"""


def serving_table(cases: Sequence[Case]) -> str:
    """One row per system; behind each value its ratio to a and to b."""
    return "\n".join([HEAD, *(row for case in cases for row in _rows(case))])


def split_table(short: Sequence[Case], long: Sequence[Case]) -> str:
    """The line through two lengths of answer: what a run costs before its first token, and what a token costs."""
    lines = ["| streams | system | CPU ms per run | CPU µs per token |", "|--:|---|--:|--:|"]
    for few, many in zip(short, long, strict=True):
        for name in many.rounds:
            low, high = (
                case.load.tokens * case.middle(name, lambda m: m.cpu) for case in (few, many)
            )
            per_token = (high - low) / (many.load.tokens - few.load.tokens)
            per_run = low - few.load.tokens * per_token
            lines.append(f"| {many.streams} | {name} | {per_run:.1f} | {per_token * 1000:.0f} |")
    return "\n".join(lines)


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
