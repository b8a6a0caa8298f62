"""Measures what serving a graph costs, beside the bare graph and a pass-through without storage."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from benchmarks.log import log_table, measure_log
from benchmarks.report import serving_table, split_table
from benchmarks.serving import Load, measure_all
from benchmarks.systems import ANTIPHON, OWN, PASSTHROUGH, RAW

SYSTEMS = {name[0]: name for name in (RAW, PASSTHROUGH, ANTIPHON, OWN)}
"""The systems, by the letter of `--systems`."""
AT_ONCE = 1e9
"""Readers per second, if all come at once."""
SHORT = 10
"""Tokens of a short answer."""


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round, to see that it works"
    )
    parser.add_argument("--streams", help="numbers of concurrent streams [1,50,200; quick: 1,50]")
    parser.add_argument(
        "--tokens", type=int, help="tokens of an answer [unpaced 100, paced 30; quick: 50, 20]"
    )
    parser.add_argument("--rounds", type=int, help="how often the systems take turns [3; quick: 1]")
    parser.add_argument(
        "--systems", default="abc", help="d: Antiphon with its own chat model [abc]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    options = parser.parse_args()
    if options.tokens is not None and options.tokens <= SHORT:
        parser.error(f"--tokens must be above {SHORT}, the length of a short answer")
    if unknown := set(options.systems) - set(SYSTEMS):
        parser.error(
            f"--systems has {', '.join(sorted(SYSTEMS))}, not {', '.join(sorted(unknown))}"
        )
    return options


def _loads(options: argparse.Namespace) -> tuple[Load, ...]:
    unpaced, paced = (50, 20) if options.quick else (100, 30)
    return (
        Load("short", SHORT, delay_ms=0, arrivals=AT_ONCE, asks=100),
        Load("unpaced", options.tokens or unpaced, delay_ms=0, arrivals=AT_ONCE, asks=10),
        Load("paced", options.tokens or paced, delay_ms=100, arrivals=100, asks=1),
    )


def main() -> None:
    """Measure and print."""
    options = _options()
    quick: bool = options.quick
    counts = options.streams or ("1,50" if quick else "1,50,200")
    streams = [int(count) for count in counts.split(",")]
    rounds = options.rounds or (1 if quick else 3)
    names = [SYSTEMS[letter] for letter in options.systems]
    began, busy = time.monotonic(), os.getloadavg()[0]

    def note(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    cases = measure_all(_loads(options), streams, names, rounds, note)
    short, rest = cases[: len(streams)], cases[len(streams) :]
    note("the log alone")
    with TemporaryDirectory(prefix="antiphon-bench-") as folder:
        log_cases = measure_log(streams, 0.5 if quick else 2.0, Path(folder))
    print(
        serving_table(rest),
        split_table(short, rest[: len(streams)]),
        log_table(log_cases),
        sep="\n\n",
    )
    cores = os.cpu_count()
    print(f"\nMedians of {rounds} rounds on {cores} cores; the load average was {busy:.1f} before.")
    if options.json:
        machine = {
            "cores": cores,
            "python": platform.python_version(),
            "load": busy,
            "seconds": time.monotonic() - began,
        }
        result = {"machine": machine, "serving": cases, "log": log_cases}
        options.json.write_bytes(msgspec.json.encode(result))
    note("done")


if __name__ == "__main__":
    main()
