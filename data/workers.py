"""Which processes on one database file are alive: each holds a lock file.

The kernel releases the lock when a process dies, however it dies; a process that is merely
suspended keeps it. So a free lock means "dead, take over at once", and only a held one needs the
patience of a lease.
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from antiphon.data.ids import new_id


def boot_id() -> str:
    """Return the name of this boot of the host, within which monotonic clocks compare."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"


class WorkerLock:
    """This process's own lock. `id` is its name among the workers of a database."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.id = new_id()
        self._folder = folder
        self._path = folder / f"{self.id}.lock"
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, f"{os.getpid()} {_state(os.getpid())[1]}".encode())

    def end(self, worker_id: str) -> None:
        """Kill a suspended worker (SIGSTOP), if its PID is still the process that took the lock.

        One that runs is merely slow, perhaps for the same reason as this one; for that the fence is
        enough.
        """
        try:
            pid, started = (self._folder / f"{worker_id}.lock").read_text().split()
        except (OSError, ValueError):
            return
        if started != "unknown" and _state(int(pid)) in [("T", started), ("t", started)]:
            os.kill(int(pid), signal.SIGKILL)

    def is_dead(self, worker_id: str) -> bool:
        """Return whether a worker's process has ended. Remove its file if so."""
        path = self._folder / f"{worker_id}.lock"
        try:
            other = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(other)

    def remove_others(self) -> None:
        """Remove the files of ended processes. Call it while no other process creates its file.

        A new file is not locked at first.
        """
        for path in self._folder.glob("*.lock"):
            with suppress(OSError):
                self.is_dead(path.stem)

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._file >= 0:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = -1


def _state(pid: int) -> tuple[str, str]:
    """Return a process's state letter and its start time, which distinguishes reused PIDs."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0], fields[19]
    except (OSError, IndexError):
        return "", "unknown"


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file, for what only one process may do at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)
