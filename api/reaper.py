"""Kills a server that has not ended some seconds after SIGTERM or SIGINT.

A process of its own, because a server may be unable to execute one line of Python any more: a regular
expression that backtracks for ever holds the interpreter's lock, whichever thread it is in. `Reaper` is
the server's side. The other side is this file as a script: bytes on its standard input mean that a signal
has come, and their end means that the server is gone. It uses the standard library only.
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
    """Watches this process for as long as it lives, or until `close`."""

    def __init__(self, seconds: float) -> None:
        command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(seconds)]
        theirs, self._pipe = os.pipe()
        try:
            self._process = subprocess.Popen(command, stdin=theirs, start_new_session=True)  # noqa: S603
        finally:
            os.close(theirs)

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Begin to count at a signal. Python's own handlers, which must be there already, are called as well.

        The standard library has one handler that does not wait for the interpreter: faulthandler's,
        which writes where the program stands. That something is written is all that matters here.
        """
        for number in SIGNALS:
            faulthandler.register(number, self._pipe, all_threads=False, chain=True)
        try:
            yield
        finally:
            for number in SIGNALS:
                faulthandler.unregister(number)

    def close(self) -> None:
        """Let this process live."""
        os.close(self._pipe)
        self._process.wait()


def watch(parent: int, seconds: float) -> None:
    """Wait for a signal to the parent, then kill it if it still lives after so many seconds."""
    if not os.read(0, 4096):
        return
    deadline = time.monotonic() + seconds
    while os.getppid() == parent:
        left = deadline - time.monotonic()
        if left <= 0:
            print(f"the server did not end within {seconds:g} seconds: killed", file=sys.stderr, flush=True)
            os.kill(parent, signal.SIGKILL)
            return
        ready, _, _ = select.select([0], [], [], left)
        if ready and not os.read(0, 4096):
            return


if __name__ == "__main__":
    watch(int(sys.argv[1]), float(sys.argv[2]))
