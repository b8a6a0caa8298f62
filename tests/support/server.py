"""Real servers for tests, on real sockets: one in a thread of this process, one as a process that
can be killed.

`Teller` is the model behind them: it answers by the question that it is asked, so that many tests
can share a server."""

from __future__ import annotations

import asyncio
import io
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import pytest

from antiphon.api.logs import Redacted
from antiphon.api.serve import Server, listen, make_server
from antiphon.api.settings import Settings
from tests.support.deadline import DEADLINE
from tests.support.forks import Fork, fork
from tests.support.model_server import ModelRequest, Reply, ThreadedModelServer, structured_reply

ROOT = Path(__file__).parents[2]
SECRET = "a secret of more than thirty-two bytes, for tests only"
AUDIENCE, ISSUER = "antiphon-tests", "https://issuer.test"
API_KEY = "sk-test-0123456789abcdef"
GRAPHS = ROOT / "tests" / "api" / "graphs.py"


def token(user: str = "ada", seconds: int = 3600, **claims: Any) -> str:
    """A token that servers with `jwt_settings` accept, unless told otherwise; a claim of None is left out."""
    standard = {"sub": user, "exp": int(time.time()) + seconds, "aud": AUDIENCE, "iss": ISSUER}
    payload = {name: value for name, value in (standard | claims).items() if value is not None}
    return jwt.encode(payload, SECRET, algorithm="HS256")


def bearer(user: str = "ada", **claims: Any) -> dict[str, str]:
    """The header of a caller."""
    return {"authorization": f"Bearer {token(user, **claims)}"}


# ---------------------------------------------------------------------------------------------------- the model


class Teller:
    """A model server that answers each question with its own replies; echoes questions that it does not know."""

    def __init__(self) -> None:
        self._replies: dict[tuple[str, str], list[Reply]] = {}
        self.server = ThreadedModelServer(self._script)

    def answer(self, question: str, *replies: Reply | str, agent: str = "") -> str:
        """Answer `question` with these replies in turn, the last one for ever. Returns the question.

        With `agent`, only where that text stands in the system prompt.
        """
        self._replies[question, agent] = [
            Reply(one) if isinstance(one, str) else one for one in replies
        ]
        return question

    def asked(self, question: str) -> list[ModelRequest]:
        """The requests for the text of an answer to a question, in order."""
        return [
            one
            for one in self.server.requests
            if one.last_user == question and structured_reply(one) is None
        ]

    def wait_tokens(self, question: str, count: int, seconds: float = DEADLINE) -> None:
        """Wait until so many tokens of an answer have gone out."""
        self.server.wait_until(
            lambda: any(one.tokens_sent >= count for one in self.asked(question)), seconds
        )

    def wait_asked(self, question: str, count: int = 1, seconds: float = DEADLINE) -> None:
        """Wait until an answer was asked for so many times."""
        self.server.wait_until(lambda: len(self.asked(question)) >= count, seconds)

    def _script(self, request: ModelRequest) -> Reply:
        question = request.last_user
        routing = structured_reply(request)
        if routing is not None:
            return self._next(question, "route") or routing
        for asked, agent in self._replies:
            if asked == question and agent not in ("", "route") and agent in request.system:
                return self._next(question, agent) or Reply()
        return self._next(question, "") or Reply(f"You said: {question}")

    def _next(self, question: str, agent: str) -> Reply | None:
        replies = self._replies.get((question, agent))
        if not replies:
            return None
        return replies.pop(0) if len(replies) > 1 else replies[0]


# ------------------------------------------------------------------------------------------- a server in a thread


@dataclass
class LiveServer:
    """A server that runs in a thread of this process, on an event loop of its own."""

    settings: Settings
    port: int
    server: Server
    thread: threading.Thread
    lines: io.StringIO

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What `antiphon serve` would have written to its log so far."""
        return self.lines.getvalue()


@contextmanager
def running_server(folder: Path, **given: Any) -> Iterator[LiveServer]:
    """A server on a free port, for as long as the block lasts."""
    settings = Settings(**({"database_url": f"sqlite:///{folder / 'log.db'}", "port": 0} | given))
    lines = io.StringIO()
    handler = logging.StreamHandler(lines)
    handler.setFormatter(Redacted("%(levelname)s %(name)s %(message)s"))
    with _logging_to(handler):
        ready, listener = threading.Event(), listen("127.0.0.1", 0)
        server = make_server(settings, ready.set)
        thread = threading.Thread(target=_run, args=(server, listener), name="server", daemon=True)
        thread.start()
        wait_until(lambda: ready.is_set() or not thread.is_alive(), "the server did not start")
        if not ready.is_set():
            raise RuntimeError(f"the server did not start:\n{lines.getvalue()}")
        try:
            yield LiveServer(settings, listener.getsockname()[1], server, thread, lines)
        finally:
            server.handle_exit(signal.SIGTERM, None)
            thread.join(DEADLINE)
            listener.close()
        if thread.is_alive():
            raise RuntimeError(f"the server did not stop:\n{lines.getvalue()}")


def _run(server: Server, listener: socket.socket) -> None:
    """Serve; connections that a model's client keeps open for later use end with the loop, without a warning."""
    runner = asyncio.Runner(loop_factory=server.config.get_loop_factory())
    try:
        runner.run(server.serve(sockets=[listener]))
    finally:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            runner.close()


@contextmanager
def _logging_to(handler: logging.Handler) -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


def wait_until(condition: Callable[[], bool], problem: str, seconds: float = DEADLINE) -> None:
    """Wait for something that only another process or thread can say, looking every few milliseconds."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(problem)
        pause.wait(0.005)


# ---------------------------------------------------------------------------------------------- a server process


class ProcessServer:
    """`antiphon serve` as a process, which can be killed and started again on the same database and port.

    In the repository's own folder it begins as a fork, elsewhere from nothing.
    """

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str] | None = None,
        *options: str,
        cwd: Path = ROOT,
    ) -> None:
        self.folder = folder
        self._cwd = cwd
        self.port = free_port()
        self.database = folder / "log.db"
        self.log_path = folder / "server.log"
        self._environment = dict(environment or {})
        self._options = options
        self.process: Fork | subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def start(self) -> ProcessServer:
        """Start, and return when it says that it answers."""
        options = [
            "serve",
            "--port",
            str(self.port),
            "--db",
            f"sqlite:///{self.database}",
            *self._options,
        ]
        environment = clean_environment(**self._environment)
        with self.log_path.open("ab") as log:
            if self._cwd == ROOT:
                self.process = fork("antiphon.api", options, environment, ROOT, log)
            else:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "antiphon.api", *options],
                    cwd=self._cwd,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=log,
                )
        assert self.process.stdout is not None
        line = self.process.stdout.readline().decode()
        if not line.startswith("Antiphon answers"):
            self.kill()
            raise RuntimeError(f"the server did not start: {line}\n{self.log}")
        return self

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def terminate(self) -> int:
        """SIGTERM. Returns the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, number: int) -> int:
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(DEADLINE)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def memory(self) -> int:
        """Bytes that the process holds in memory."""
        assert self.process is not None
        found = re.search(
            r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text()
        )
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def server_process(
    folder: Path, environment: Mapping[str, str] | None = None, *options: str, cwd: Path = ROOT
) -> Iterator[ProcessServer]:
    """A server process, killed at the end of the block if it still runs."""
    server = ProcessServer(folder, environment, *options, cwd=cwd).start()
    try:
        yield server
    finally:
        server.kill()


def clean_environment(**given: str) -> dict[str, str]:
    """This process's environment without anything that settings are read from, plus what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ANTIPHON_", "OPENAI_", "OTEL_"))
    }
    return kept | given


def free_port() -> int:
    """A port that nobody listens on now, and that a server process can have for itself."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# ------------------------------------------------------------------------------------------------------ fixtures


@pytest.fixture(scope="session")
def teller() -> Iterator[Teller]:
    """The model behind all servers of this session."""
    told = Teller()
    with told.server:
        yield told


def model_settings(teller: Teller) -> dict[str, Any]:
    """Settings of a server that asks this model."""
    return {
        "model": "openai:gpt-4o-mini",
        "openai_base_url": teller.server.base_url,
        "openai_api_key": API_KEY,
    }


def model_environment(teller: Teller) -> dict[str, str]:
    """The same for a server process."""
    return {
        "ANTIPHON_MODEL": "openai:gpt-4o-mini",
        "OPENAI_BASE_URL": teller.server.base_url,
        "OPENAI_API_KEY": API_KEY,
    }


def jwt_settings() -> dict[str, Any]:
    """Settings of a server whose callers must log in."""
    return {"auth": "jwt", "jwt_secret": SECRET, "jwt_audience": AUDIENCE, "jwt_issuer": ISSUER}


UNLIMITED = {
    "requests_per_minute": 0,
    "address_requests_per_minute": 0,
    "frames_per_second": 0,
    "connections_per_user": 0,
    "runs_per_user": 0,
}
"""For servers that many tests share."""


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[LiveServer]:
    """A server with the built-in team and authentication off."""
    with running_server(tmp_path_factory.mktemp("live"), **model_settings(teller)) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory, teller: Teller) -> Iterator[LiveServer]:
    """A server with the built-in team whose callers must log in."""
    with running_server(
        tmp_path_factory.mktemp("guarded"), **model_settings(teller), **jwt_settings(), **UNLIMITED
    ) as server:
        yield server


@pytest.fixture(scope="session")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    """A server whose default graph is a user's own one: it reports no progress, and asks a human when told to."""
    folder = tmp_path_factory.mktemp("asking")
    with running_server(folder, graphs=(f"{GRAPHS}:asking",), heartbeat_seconds=0.15) as server:
        yield server
