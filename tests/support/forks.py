"""Processes that begin as forks of one that has imported the product: a start takes milliseconds
instead of seconds.

`python -m tests.support.forks FD` is the process that is forked: it imports what every server
imports, makes nothing, and waits for requests. A fork runs a module as `python -m` does, from its
first line to the interpreter's own end. Between both stands a keeper, which waits for the fork and
reports its number and how it ended."""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

ROOT = Path(__file__).parents[2]
REQUEST_BYTES = 2**20


class Fork:
    """A process that was started by `fork`, with what tests need of `subprocess.Popen`."""

    def __init__(self, reports: socket.socket, stdout: IO[bytes]) -> None:
        self._reports = reports
        self.stdout = stdout
        self.pid = int(reports.recv(64))
        self.returncode: int | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._wait, name=f"fork {self.pid}", daemon=True).start()

    def _wait(self) -> None:
        with self._reports:
            self.returncode = int(self._reports.recv(64))
        self._ended.set()

    def poll(self) -> int | None:
        """Return the exit status, minus the signal's number if one has ended it, or None if it still runs."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end. Return the exit status; raise `TimeoutExpired` if it does not come in time."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired(f"fork {self.pid}", timeout or 0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


def fork(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    cwd: Path = ROOT,
    stderr: IO[bytes] | None = None,
) -> Fork:
    """Run `python -m module arguments` in a fork, with this environment as its whole one.

    Its stdout is a pipe, its stderr is this process's if no other one is given.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    readable, writable = os.pipe()
    request = {"argv": [module, *arguments], "environment": dict(environment), "cwd": str(cwd)}
    errors = 2 if stderr is None else stderr.fileno()
    with theirs:
        socket.send_fds(
            _origin(), [json.dumps(request).encode()], [theirs.fileno(), writable, errors]
        )
    os.close(writable)
    return Fork(ours, os.fdopen(readable, "rb"))


@functools.cache
def _origin() -> socket.socket:
    """Start the process that is forked. It ends with this one."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "tests.support.forks", str(theirs.fileno())]
    with theirs:
        process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# ------------------------------------------------------------------------------------- in the process that is forked


def _next_fork(requests: socket.socket) -> list[str]:
    """Serve requests. Return in each fork, with what it has to run."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for keepers
    while True:
        message, descriptors, *_ = socket.recv_fds(requests, REQUEST_BYTES, 3)
        if not message:
            sys.exit()
        if os.fork() == 0:
            requests.close()
            return _kept(json.loads(message), *descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _kept(request: dict[str, Any], reports: int, stdout: int, stderr: int) -> list[str]:
    """Fork once more: return in the new process, and report its end to the one that asked for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if pid := os.fork():
        os.close(stdout)
        os.close(stderr)
        os.write(reports, str(pid).encode())
        _, status = os.waitpid(pid, 0)
        with contextlib.suppress(OSError):  # the tests have ended before
            os.write(reports, str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    os.close(reports)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.close(stdout)
    os.close(stderr)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    sys.path[0] = request["cwd"]
    argv: list[str] = request["argv"]
    return argv


def _import_product() -> None:
    """Import what every server imports that asks a model."""
    import langchain_openai  # noqa: F401

    import antiphon.api.cli
    import antiphon.api.serve  # noqa: F401

    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as asked:
        _import_product()
        sys.argv = _next_fork(asked)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
