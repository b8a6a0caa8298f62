"""The systems under test: processes whose CPU time is measured."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from benchmarks.client import Target, ask
from benchmarks.load import LoadPlan, Played, play

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0
KEPT = ("PATH", "HOME", "TMPDIR", "LANG")
"""Variables of the environment that the systems inherit."""

MODEL, RAW, PASSTHROUGH, ANTIPHON, OWN = (
    "model alone",
    "a raw graph",
    "b pass-through",
    "c Antiphon",
    "d own model",
)


class System:
    """A running process that plays plans."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        play_plan: Callable[[LoadPlan], Played],
        port: int | None = None,
    ) -> None:
        self.play = play_plan
        self._process = process
        self._port = port

    def cpu(self) -> float:
        """Return the CPU seconds of all its threads so far, including those that have ended.

        The clock's number is made of the pid as in clock_getcpuclockid(3).
        """
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def warm(self) -> None:
        """Wait until it accepts connections, then let it answer a few times."""
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts() and time.monotonic() < deadline:
            time.sleep(0.05)
        self.play(LoadPlan(10, 1, 0.0))

    def _accepts(self) -> bool:
        """Return whether waiting is over: it accepts connections, has no port, or has ended."""
        if self._port is None or self._process.poll() is not None:
            return True
        try:
            socket.create_connection(("127.0.0.1", self._port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def model_server(port: int, tokens: int, delay_ms: float) -> Iterator[System]:
    """Start the stand-in for a model. Asked directly, it is the baseline."""
    command = ["-m", "tests.support.model_server", "--port", str(port), "--tokens", str(tokens)]
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    command += ["--delay-ms", str(delay_ms)]
    with _process(command, {}, stdout=subprocess.DEVNULL) as process:
        yield System(process, partial(_play_http, Target(port, "/v1/chat/completions", body)), port)


@contextmanager
def system(name: str, model_port: int, folder: Path) -> Iterator[System]:
    """Start a system by its name. It stores its data in `folder`."""
    base_url = f"http://127.0.0.1:{model_port}/v1"
    environment = {
        "OPENAI_BASE_URL": base_url,
        "OPENAI_API_KEY": "none",
        "ANTIPHON_LOG_LEVEL": "warning",
    }
    if name == RAW:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with _process(["-m", "benchmarks.raw"], environment, **pipes) as process:
            yield System(process, partial(_play_raw, process))
        return
    port = free_port()
    if name == PASSTHROUGH:
        command = ["-m", "uvicorn", "benchmarks.passthrough:app", "--log-level", "warning"]
        command += ["--loop", "uvloop", "--http", "httptools"]
        target = Target(port, "/stream", {"message": "Hello"})
    else:
        graph = "benchmarks/one_node.py:" + ("own" if name == OWN else "graph")
        database = f"sqlite:///{folder / f'{port}.db'}"
        command = ["-m", "antiphon.api", "serve", "--graph", graph, "--db", database]
        target = Target(port, "/api/v1/runs", {"message": "Hello"}, b"event: agent_chunk\n")
    with _process(
        [*command, "--port", str(port)], environment, stdout=subprocess.DEVNULL
    ) as process:
        yield System(process, partial(_play_http, target), port)


def _play_http(target: Target, plan: LoadPlan) -> Played:
    return uvloop.run(play(partial(ask, target), plan))


def _play_raw(process: subprocess.Popen[bytes], plan: LoadPlan) -> Played:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(msgspec.json.encode(plan) + b"\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Played)


@contextmanager
def _process(
    arguments: list[str], environment: dict[str, str], **pipes: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """Start Python with a clean environment: no proxies, tracing or settings of the caller."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    clean = {**kept, "PYTHONPATH": str(ROOT), **environment}
    process = subprocess.Popen([sys.executable, *arguments], cwd=ROOT, env=clean, **pipes)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def free_port() -> int:
    """Return a port that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
