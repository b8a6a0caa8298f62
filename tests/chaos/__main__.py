"""`python -m tests.chaos`: play all scenarios, and write the table."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.chaos.scenarios import HEAD, SCENARIOS, perform


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("--full", action="store_true", help="full size, as the README shows it")
    parser.add_argument("--quick", action="store_true", help="the size of `make test` (default)")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="only this scenario; may be repeated")
    parser.add_argument("--trials", type=int, help="another number of trials")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--table", type=Path, help="write the Markdown table here")
    options = parser.parse_args()
    heads = (*HEAD, "deliveries", "facts")
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    failed = False
    for name in options.only or SCENARIOS:
        plan = SCENARIOS[name]
        trials = options.trials or (plan.full if options.full else plan.quick)
        result = asyncio.run(perform(name, trials, options.seed))
        lines.append(result.row())
        print(f"{result.row()}  {result.seconds:.1f} s", flush=True)
        for kind, what in result.ledger.problems[:20]:
            print(f"  {kind}: {what}", flush=True)
        failed = failed or bool(result.ledger.problems)
        if options.table is not None:
            options.table.write_text("\n".join(lines) + "\n")
    print("\n".join(["", *lines, ""]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
