"""The process that ends a server which cannot end itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from antiphon.api.reaper import Reaper
from tests.support.deadline import DEADLINE

ROOT = Path(__file__).parents[2]
SCRIPT = """
import os, re, signal, sys, threading
from antiphon.api.reaper import Reaper

readable, writable = os.pipe()

def handle(*_):
    # By the descriptor: a signal may come while `print` is busy, which cannot be entered twice.
    os.write(1, b"handled\\n")
    os.write(writable, b"!")

for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, handle)
reaper = Reaper(float(sys.argv[1]))
with reaper.listening():
    print(reaper._process.pid, flush=True)
    if sys.argv[2] == "ends":
        os.read(readable, 1)
    elif sys.argv[2] == "goes on":
        while True:
            signal.pause()
    else:
        threading.Thread(target=re.match, args=(r"(a+)+$", "a" * 200 + "b"), daemon=True).start()
        while True:  # the thread may need a while to begin; until then this one must stay in here
            signal.pause()
"""


@contextmanager
def watched(seconds: float, what: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process with a reaper, and the reaper's own number."""
    command = [sys.executable, "-c", SCRIPT, str(seconds), what]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, int(process.stdout.readline())
        finally:
            process.kill()


def lives(pid: int) -> bool:
    """Whether a process executes anything; one that only waits for its parent does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_goes_on_after_a_signal_is_killed(number: signal.Signals) -> None:
    with watched(0.3, "goes on") as (process, _):
        process.send_signal(number)
        assert process.wait(DEADLINE) == -signal.SIGKILL
        assert process.stdout is not None
        assert process.stdout.read() == "handled\n", "its own handler is called as well"


def test_a_process_that_executes_no_python_is_killed() -> None:
    with watched(0.3, "is stuck") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == -signal.SIGKILL


def test_a_process_that_ends_in_time_is_left_alone_and_the_reaper_ends_with_it() -> None:
    with watched(60, "ends") as (process, reaper):
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE) == 0
        while lives(reaper):
            pass


def test_a_reaper_can_be_dismissed() -> None:
    reaper = Reaper(60)
    reaper.close()
    assert reaper._process.returncode == 0
