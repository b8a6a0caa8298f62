"""Kills a server that has not ended some seconds after SIGTERM or SIGINT.

It is a separate process, because a server may be unable to execute any Python at all: a regular
expression that backtracks for ever holds the interpreter's lock, in whichever thread it runs.
`Reaper` is the server's side. The other side is this file as a script: bytes on its standard input
mean that a signal has arrived, and the end of the input means that the server has ended. It uses
the standard library only.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Reaper:
    """Watches this process until it ends, or until `close`."""

    def __init__(self, seconds: float) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(seconds)]
        theirs, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603
                command, stdin=theirs, start_new_session=True
            )
        finally:
            os.close(theirs)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Start the countdown at a signal. Python's own handlers, set before, are called as well.

        The standard library has one handler that does not wait for the interpreter: faulthandler's,
        which writes a traceback. Only the fact that it writes matters here.
        """
        for number in SIGNALS:
            faulthandler.register(number, self._pipe, all_threads=False, chain=True)
        try:
            yield
        finally:
            for number in SIGNALS:
                faulthandler.unregister(number)

    def close(self) -> None:
        """Stop watching, and wait for the reaper's process to end."""
        os.close(self._pipe)
        self._process.wait()


def watch(parent: int, seconds: float) -> None:
    """Wait for a signal to the parent, then kill it if it has not ended after so many seconds."""
    if not os.read(0, 4096):
        return
    deadline = time.monotonic() + seconds
    while os.getppid() == parent:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            report = f"the server did not end within {seconds:g} seconds: killed"
            print(report, file=sys.stderr, flush=True)
            os.kill(parent, signal.SIGKILL)
            return
        ready, _, _ = select.select([0], [], [], remaining)
        if ready and not os.read(0, 4096):
            return


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]))
