"""The systems under test, each a process of its own, with the CPU time that it takes."""

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
from benchmarks.load import Plan, Played, play

ROOT = Path(__file__).parents[1]
START_SECONDS = 60.0

MODEL, RAW, PASSTHROUGH, ANTIPHON, OWN = (
    "model alone",
    "a raw graph",
    "b pass-through",
    "c Antiphon",
    "d own model",
)


class System:
    """A running process that can be played a plan."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        play_plan: Callable[[Plan], Played],
        port: int | None = None,
    ) -> None:
        self.play = play_plan
        self._process = process
        self._port = port

    def cpu(self) -> float:
        """CPU seconds of all its threads so far, also of those that have ended: clock_getcpuclockid(3) of the pid."""
        return time.clock_gettime(~self._process.pid << 3 | 2)

    def warm(self) -> None:
        """Wait until it takes connections, then let it answer a few times."""
        deadline = time.monotonic() + START_SECONDS
        while (
            self._port is not None and self._process.poll() is None and time.monotonic() < deadline
        ):
            try:
                socket.create_connection(("127.0.0.1", self._port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        self.play(Plan(10, 1, 0.0))


@contextmanager
def model_server(port: int, tokens: int, delay_ms: float) -> Iterator[System]:
    """The model's stand-in. Asked directly, it is the baseline."""
    command = ["tests/support/model_server.py", "--port", str(port), "--tokens", str(tokens)]
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    with _process(
        [*command, "--delay-ms", str(delay_ms)], {}, stdout=subprocess.DEVNULL
    ) as process:
        yield System(process, partial(_play_http, Target(port, "/v1/chat/completions", body)), port)


@contextmanager
def system(name: str, model_port: int, folder: Path) -> Iterator[System]:
    """Start one of the systems by its name; `folder` takes what it stores."""
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
        command = [
            "-m",
            "uvicorn",
            "benchmarks.passthrough:app",
            "--loop",
            "uvloop",
            "--http",
            "httptools",
        ]
        command += ["--log-level", "warning", "--port", str(port)]
        target = Target(port, "/stream", {"message": "Hello"})
    else:
        graph = "benchmarks/one_node.py:" + ("own" if name == OWN else "graph")
        database = f"sqlite:///{folder / f'{port}.db'}"
        command = [
            "-m",
            "antiphon.api",
            "serve",
            "--graph",
            graph,
            "--db",
            database,
            "--port",
            str(port),
        ]
        target = Target(port, "/api/v1/runs", {"message": "Hello"}, b"event: agent_chunk\n")
    with _process(command, environment, stdout=subprocess.DEVNULL) as process:
        yield System(process, partial(_play_http, target), port)


def _play_http(target: Target, plan: Plan) -> Played:
    return uvloop.run(play(partial(ask, target), plan))


def _play_raw(process: subprocess.Popen[bytes], plan: Plan) -> Played:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(msgspec.json.encode(plan) + b"\n")
    process.stdin.flush()
    return msgspec.json.decode(process.stdout.readline(), type=Played)


@contextmanager
def _process(
    arguments: list[str], environment: dict[str, str], **pipes: Any
) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process with a clean environment: no proxies, no tracing, no settings of the caller's."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ
    }
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
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
