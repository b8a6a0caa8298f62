"""A fork is a process of its own: its environment, its folder, its output and its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.deadline import DEADLINE
from tests.support.forks import Fork, fork

SAYS = """
import atexit, os, sys
atexit.register(print, "the end")
print(__name__, sys.argv[1:], os.getcwd(), dict(os.environ), "antiphon.api.serve" in sys.modules)
print("aside", file=sys.stderr)
sys.exit(3)
"""
WAITS = """
import signal
print(signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL, flush=True)
signal.pause()
"""


@contextmanager
def forked(folder: Path, source: str, *arguments: str) -> Iterator[Fork]:
    """A fork that runs this source, killed at the end of the block if it still runs."""
    (folder / "module.py").write_text(source)
    with (folder / "stderr").open("wb") as stderr:
        process = fork("module", arguments, {"ONLY": "this"}, folder, stderr)
    with process.stdout:
        yield process
        process.kill()
        process.wait(DEADLINE)


def test_it_runs_a_module_with_this_environment_in_this_folder_to_the_very_end(
    tmp_path: Path,
) -> None:
    with forked(tmp_path, SAYS, "a", "b c") as process:
        assert process.wait(DEADLINE) == process.poll() == 3
        said, end = process.stdout.read().decode().splitlines()
    assert said == f"__main__ ['a', 'b c'] {tmp_path} {{'ONLY': 'this'}} True"
    assert end == "the end"
    assert (tmp_path / "stderr").read_text() == "aside\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_ends_by_a_signal_and_says_so(tmp_path: Path, number: signal.Signals) -> None:
    with forked(tmp_path, WAITS) as process:
        assert process.stdout.readline() == b"True\n"
        assert process.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.01)
        process.send_signal(number)
        assert process.wait(DEADLINE) == -number
        with pytest.raises(ProcessLookupError):
            os.kill(process.pid, 0)
        process.send_signal(number)


def test_each_is_another_process_and_none_is_ours(tmp_path: Path) -> None:
    with forked(tmp_path, WAITS) as one, forked(tmp_path, WAITS) as other:
        assert len({one.pid, other.pid, os.getpid()}) == 3
        one.kill()
        assert one.wait(DEADLINE) == -signal.SIGKILL
        assert other.poll() is None


def test_an_error_is_told_as_by_python(tmp_path: Path) -> None:
    with forked(tmp_path, "1 / 0") as process:
        assert process.wait(DEADLINE) == 1
    assert "ZeroDivisionError" in (tmp_path / "stderr").read_text()
