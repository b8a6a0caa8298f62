"""`python -m tests.chaos`: play all scenarios, and write the table."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.chaos.scenarios import HEAD, SCENARIOS, perform

README = Path(__file__).parents[2] / "README.md"
BEGIN, END = "<!-- chaos -->", "<!-- /chaos -->"
SHOWN = (
    "trials",
    "faults",
    "deliveries",
    "lost",
    "duplicated",
    "changed",
    "not one terminal",
    "re-executed",
)
TITLES = {
    "kill_any": "runs killed with `kill -9` at random instants",
    "states": "turns of graphs with a state, killed with `kill -9`",
    "kill_on_ack": "messages whose server was killed on the acknowledgement",
    "zombies": "frozen workers that wake up after the takeover",
    "cuts": "connections cut, SSE and WebSocket",
    "poison": "runs that kill their process",
    "sigterm": "runs handed over by SIGTERM",
    "cancels": "racing cancels",
    "model_faults": "six faults of the model, once and for ever",
    "takeover": "takeovers by a second process",
    "disk_full": "full disks",
    "stuck_readers": "readers that stop reading",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--full", action="store_true", help="full size, as the README shows it")
    parser.add_argument("--quick", action="store_true", help="the size of `make test` (default)")
    parser.add_argument(
        "--only", choices=SCENARIOS, action="append", help="only this scenario; may be repeated"
    )
    parser.add_argument("--trials", type=int, help="another number of trials")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--table",
        type=Path,
        help="put each row into the Markdown table here, as soon as it is known",
    )
    options = parser.parse_args()
    failed = False
    for name in options.only or SCENARIOS:
        plan = SCENARIOS[name]
        trials = options.trials or (plan.full if options.full else plan.quick)
        result = asyncio.run(perform(name, trials, options.seed, slack=0))
        print(f"{result.row()}\n{name} took {result.seconds:.1f} s", flush=True)
        for kind, what in result.ledger.problems[:20]:
            print(f"  {kind}: {what}", flush=True)
        failed = failed or bool(result.ledger.problems)
        if options.table is not None:
            put(options.table, name, result.row())
            show(options.table, README)
    return int(failed)


def put(table: Path, name: str, row: str) -> None:
    """Replace or add a scenario's row; the other rows, and what is said around the table, stay."""
    lines = table.read_text().splitlines() if table.exists() else []
    head = f"| {' | '.join(HEAD)} |"
    rows = {
        _cells(line)[0]: line for line in lines if head in lines and len(_cells(line)) == len(HEAD)
    } | {name: row}
    at = next((number for number, line in enumerate(lines) if line.startswith("|")), len(lines))
    around = [line for line in lines if not line.startswith("|")]
    whole = [head, f"|{' --- |' * len(HEAD)}", *(rows[one] for one in SCENARIOS if one in rows)]
    table.write_text("\n".join([*around[:at], *whole, *around[at:]]) + "\n")


def show(table: Path, readme: Path) -> None:
    """Repeat the table's figures in the README, in words for readers."""
    lines = [f"| | {' | '.join(SHOWN)} |", f"|---|{'--:|' * len(SHOWN)}"]
    for line in table.read_text().splitlines():
        told = dict(zip(HEAD, _cells(line), strict=False))
        if told["scenario"] in TITLES:
            figures = " | ".join(f"{int(told[name]):,}" for name in SHOWN)
            lines.append(f"| {TITLES[told['scenario']]} | {figures} |")
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{chr(10).join(lines)}\n{END}{after}")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("|")[1:-1]] or [""]


if __name__ == "__main__":
    sys.exit(main())
