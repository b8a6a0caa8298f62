"""What the suite plays with: server processes, a model whose words are tagged, and the folder that
they live in."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import signal
import sqlite3
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Ask, Event, Ledger
from tests.chaos.wire import PATIENCE, Reader, exchange
from tests.support.deadline import DEADLINE
from tests.support.forks import Fork, fork
from tests.support.model_server import ModelRequest, ModelServer, Reply
from tests.support.server import clean_environment, free_port

ROOT = Path(__file__).parents[2]
MARKS = {"maintenance specialist": "maintenance", "specification specialist": "specs"}


class Server:
    """`antiphon serve` as a process; killed, stopped and started again on the same port and database."""

    def __init__(
        self,
        folder: Path,
        name: str,
        environment: dict[str, str],
        plant: str | None,
        graph: str | None = None,
    ) -> None:
        self._graph = ["--graph", graph] if graph else []
        self._module, self._plants = (
            ("tests.chaos.planted", [plant]) if plant else ("antiphon.api", [])
        )
        self._folder, self._environment, self.name = folder, environment, name
        self.port = free_port()
        self.log = folder / f"{name}.log"
        self.process: Fork | None = None

    async def start(self) -> Server:
        """Start, after it has ended if it was started before; return when it answers."""
        if self.process is not None:
            await self.ended()
        options = [
            "--port",
            str(self.port),
            "--db",
            f"sqlite:///{self._folder / 'log.db'}",
            *self._graph,
        ]
        with self.log.open("ab") as log:
            arguments = [*self._plants, "serve", *options]
            environment = clean_environment(**self._environment)
            self.process = await asyncio.to_thread(
                fork, self._module, arguments, environment, ROOT, log
            )
        if not (await asyncio.to_thread(self.process.stdout.readline)).startswith(
            b"Antiphon answers"
        ):
            raise RuntimeError(f"the server did not start: {self.log.read_text()[-2000:]}")
        return self

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: int) -> None:
        if self.alive:
            assert self.process is not None
            self.process.send_signal(number)

    async def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        await self.ended()

    async def ended(self) -> int:
        assert self.process is not None
        status = await asyncio.to_thread(self.process.wait)
        self.process.stdout.close()
        return status

    @property
    def rss(self) -> int:
        assert self.process is not None
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    def limit_files(self, size: int) -> None:
        """Let the process write files up to this size only: to it, the disk is full."""
        assert self.process is not None
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


class Model:
    """The model behind all servers of a world."""

    def __init__(self) -> None:
        self.asks: dict[str, Ask] = {}
        self.server = ModelServer(self._script)

    def _script(self, request: ModelRequest) -> Reply:
        ask, number = self.asks[request.last_user], request.number
        if request.json_schema is not None or request.tools:
            agent = "classifier"
        else:
            known = (name for mark, name in MARKS.items() if mark in request.system)
            agent = next(
                known, "synthesis" if "You combine" in request.system else "troubleshooting"
            )
        nth = sum(one == agent for one, _ in ask.calls)
        ask.calls.append((agent, number))
        fields = (ask.script and ask.script(agent, nth)) or {}
        if agent == "classifier":
            route = {
                "primary": "troubleshooting",
                "supporting": ask.supporting,
                "confidence": 0.9,
                "parts": [],
            }
            return Reply(json.dumps(route), **fields)
        words = [f"c{number}w{n} " for n in range(ask.words)]
        chunks = [
            "".join(words[n : n + ask.words_at_once])
            for n in range(0, ask.words, ask.words_at_once)
        ]
        return Reply(chunks=chunks, **{"delay": ask.delay, **fields})


class World:
    """A folder, servers on one database in it, a model, readers, a ledger. An async context manager."""

    def __init__(self, seed: int, plant: str | None = None) -> None:
        self.rng = random.Random(seed)
        self.plant = plant
        self.patience = PATIENCE
        self.slack = 0.0
        """Seconds that everything may take longer than promised."""
        self.ledger = Ledger()
        self.model = Model()
        self.servers: list[Server] = []
        self.asks: list[Ask] = []
        self.faults = 0
        self.facts: dict[str, Any] = {}
        self._folder = tempfile.TemporaryDirectory(
            prefix="antiphon-chaos-", ignore_cleanup_errors=True
        )
        self.folder = Path(self._folder.name)

    async def __aenter__(self) -> World:
        await self.model.server.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        for server in self.servers:
            await server.kill()
        await self.model.server.stop()
        self._folder.cleanup()

    async def server(self, graph: str | None = None, **settings: Any) -> Server:
        """Start one more server on the database of this world, with a graph of its own if there is one."""
        environment = {
            "ANTIPHON_MODEL": "openai:x",
            "OPENAI_API_KEY": "sk-chaos-0123456789",
            "OPENAI_BASE_URL": self.model.server.base_url,
            "ANTIPHON_HEARTBEAT_SECONDS": "0.5",
            **{f"ANTIPHON_{name.upper()}": str(value) for name, value in settings.items()},
        }
        server = Server(self.folder, f"server{len(self.servers)}", environment, self.plant, graph)
        self.servers.append(server)
        return await server.start()

    def ask(self, **fields: Any) -> Ask:
        """A message that nobody else has; sometimes in a thread that is there already."""
        number = len(self.asks)
        threads = [one.thread_id for one in self.asks if one.thread_id]
        if "into" not in fields and threads and self.rng.random() < 0.2:
            fields["into"] = self.rng.choice(threads)
        ask = Ask(key=f"key-{number}", text=f"Why does it squeak, number {number}?", **fields)
        self.asks.append(ask)
        self.model.asks[ask.text] = ask
        return ask

    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def follow(
        self,
        asks: Sequence[Ask],
        readers: int = 2,
        ports: Callable[[], Sequence[int]] | None = None,
        **options: Any,
    ) -> asyncio.Future[list[Reader]]:
        """Start these messages, each with some logical readers that follow its run until its end."""
        options.setdefault("patience", self.patience)
        made = [
            Reader(
                f"{ask.key}/{n}",
                ask,
                self.ledger,
                ports or self.ports,
                random.Random(self.rng.random()),
                **options,
            )
            for ask in asks
            for n in range(readers)
        ]

        async def all_of_them() -> list[Reader]:
            await asyncio.gather(*(reader.follow() for reader in made))
            return made

        return asyncio.ensure_future(all_of_them())

    def log(self) -> dict[str, list[Event]]:
        """The log as it lies on the disk."""
        threads: dict[str, list[Event]] = defaultdict(list)
        names = ("thread_id", "seq", "run_id", "attempt", "at")
        for *envelope, payload in self.query(
            f"SELECT {', '.join(names)}, payload FROM events ORDER BY thread_id, seq"
        ):
            threads[envelope[0]].append(
                dict(zip(names, envelope, strict=True)) | json.loads(payload)
            )
        return threads

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(f"file:{self.folder / 'log.db'}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    async def audit(self) -> None:
        """Read everything once more as a newcomer would, and let the ledger compare."""
        port = next(server.port for server in self.servers if server.alive)
        asks = [ask for ask in self.asks if ask.run_id]
        for some in (asks[n : n + 20] for n in range(0, len(asks), 20)):
            await self.follow(some, 1, lambda: [port], fresh=True)
        threads = {ask.thread_id for ask in self.asks if ask.thread_id}
        messages = {}
        for thread in threads:
            status, told = await exchange(port, "GET", f"/api/v1/threads/{thread}/messages")
            if status != 200:
                self.ledger.problem("lost", f"thread {thread} is answered with {status}")
            messages[thread] = told["messages"] if status == 200 else []
        self.ledger.audit(self.log(), messages, self.asks)


async def until(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> None:
    """Wait for the state of a process or of a reader, looking every few milliseconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(0.01)
