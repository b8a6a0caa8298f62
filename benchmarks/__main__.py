"""`python -m benchmarks`: what serving a graph costs, beside the bare graph and a pass-through that stores nothing."""

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
AT_ONCE = 1e9
SHORT = 10


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="one short round: does it work, roughly"
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
    given = parser.parse_args()
    if given.tokens is not None and given.tokens <= SHORT:
        parser.error(f"--tokens must be above {SHORT}, the length of a short answer")
    return given


def main() -> None:
    """Measure and print."""
    given = _options()
    quick: bool = given.quick
    streams = [
        int(count) for count in (given.streams or ("1,50" if quick else "1,50,200")).split(",")
    ]
    rounds = given.rounds or (1 if quick else 3)
    names = [SYSTEMS[letter] for letter in given.systems]
    unpaced, paced = (50, 20) if quick else (100, 30)
    loads = (
        Load("short", SHORT, delay_ms=0, arrivals=AT_ONCE, asks=100),
        Load("unpaced", given.tokens or unpaced, delay_ms=0, arrivals=AT_ONCE, asks=10),
        Load("paced", given.tokens or paced, delay_ms=100, arrivals=100, asks=1),
    )
    began, busy = time.monotonic(), os.getloadavg()[0]

    def note(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", file=sys.stderr, flush=True)

    cases = measure_all(loads, streams, names, rounds, note)
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
    print(
        f"\nMedians of {rounds} rounds on {os.cpu_count()} cores whose load average was {busy:.1f} before."
    )
    if given.json:
        machine = {
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "load": busy,
            "seconds": time.monotonic() - began,
        }
        given.json.write_bytes(
            msgspec.json.encode({"machine": machine, "serving": cases, "log": log_cases})
        )
    note("done")


if __name__ == "__main__":
    main()
