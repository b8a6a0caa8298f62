"""The scenarios: each takes a world and a number of trials, does its worst, and leaves facts behind.

What must hold of all deliveries is the ledger's business, checked by `perform` at the end of each; a scenario reports
only what is its own. Sleeping for a random time is a fault's instant, never a wait for something to happen.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
import signal
import socket
import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import connect

from antiphon.orchestrator.engine.runner import QUARANTINE_SECONDS, SCAN_SECONDS
from tests.chaos.ledger import COMPLETE, KINDS, Ask, Ledger
from tests.chaos.proxy import Proxy
from tests.chaos.remembering import wrong
from tests.chaos.wire import LOST, PATIENCE, exchange, text
from tests.chaos.world import ROOT, Server, World, until
from tests.support.deadline import DEADLINE

Scenario = Callable[[World, int], Awaitable[int]]
BATCH = 10
LEASE = 3.0
LONG_LEASE = 60.0
AT_ONCE = SCAN_SECONDS + 0.5
BUSY = 15.0
"""Seconds that a machine which is busy with other tests may take longer than what is promised of a quiet one."""
FAILED, CANCELLED = ("run_error",), ("run_cancelled",)
GOING = ("closed 1001", "closed 1012", "closed abruptly")
"""How a WebSocket of a process that goes down may end."""


@dataclass
class Result:
    """A row of the table."""

    name: str
    trials: int
    faults: int
    ledger: Ledger
    facts: dict[str, object]
    seconds: float

    def row(self) -> str:
        counts = self.ledger.counts
        facts = "; ".join(f"{name} {value}" for name, value in self.facts.items())
        problems = (counts[kind] for kind in KINDS)
        cells = (
            self.name,
            self.trials,
            self.faults,
            *problems,
            self.ledger.deliveries,
            f"{self.seconds:.0f} s",
            facts,
        )
        return f"| {' | '.join(map(str, cells))} |"


COUNTED = ("lost", "duplicated", "changed", "not one terminal", "wrong end", "re-executed", "other")
HEAD = ("scenario", "trials", "faults", *COUNTED, "deliveries", "took", "facts")


async def perform(
    name: str,
    trials: int,
    seed: int,
    plant: str | None = None,
    patience: float = PATIENCE,
    slack: float = BUSY,
) -> Result:
    """One scenario in a world of its own, with the ledger's audit at its end."""
    begun = time.monotonic()
    async with World(seed, plant) as world:
        world.patience, world.slack = patience, slack
        try:
            async with asyncio.timeout(
                PATIENCE + 30 * trials
            ):  # where every run fails, some would go on for ever
                trials = await SCENARIOS[name].play(world, trials)
        except TimeoutError as late:
            world.ledger.problem("other", f"{name} did not come to its end: {late}")
        await world.audit()
        for error in world.model.server.script_errors:
            world.ledger.problem("other", f"the suite's own model failed: {error!r}")
        ends = Counter(str(ask.end) for ask in world.asks)
        world.facts.setdefault("ended as", _counted(ends))
        seconds = time.monotonic() - begun
        return Result(name, trials, world.faults, world.ledger, world.facts, seconds)


async def kill_any(world: World, trials: int) -> int:
    """kill -9 at random instants of runs' lives, twice per batch: before the acknowledgement, in nodes, in recovery."""
    server = await world.server()
    killed: set[Ask] = set()
    batch = min(BATCH, trials)
    await world.follow([_any_run(world) for _ in range(batch)])
    life = world.ledger.deliveries
    while len(killed) < trials:
        asks = [_any_run(world) for _ in range(min(batch, trials - len(killed)))]
        following = world.follow(asks)
        for share in (1.0, 0.5):
            await _some_way(
                world,
                world.rng.randrange(max(1, round(life * share * len(asks) / batch))),
                following,
            )
            killed |= {ask for ask in asks if ask.end is None}
            world.faults += 1
            await server.kill()
            await server.start()
        await following
    world.facts["runs continued after"] = _attempts(world)
    return len(killed)


def _any_run(world: World) -> Ask:
    """A run of some length, so that those of a batch are in different phases at any time."""
    return world.ask(words=world.rng.randint(3, 60), delay=world.rng.uniform(0, 0.008))


async def _some_way(world: World, deliveries: int, following: asyncio.Future[object]) -> None:
    """Wait until readers have been given so much more (or everything), and a random moment longer."""
    goal = world.ledger.deliveries + deliveries
    await until(
        lambda: world.ledger.deliveries >= goal or following.done(),
        "readers to be given anything",
        60,
    )
    await asyncio.sleep(world.rng.uniform(0, 0.03))


def _attempts(world: World) -> str:
    per_run = [n for (n,) in world.query("SELECT attempt FROM runs")]
    return ", ".join(f"{n} kills: {per_run.count(n + 1)}" for n in range(max(per_run)))


async def states(world: World, trials: int) -> int:
    """kill -9 inside turns and between them, with a graph that keeps its state: nothing of it is lost or doubled."""
    server = await world.server(graph=f"{ROOT / 'tests/chaos/remembering.py'}:graph")
    threads: list[str | None] = [None] * min(BATCH, trials)
    killed: set[Ask] = set()
    life = 0
    while len(killed) < trials or not life:
        asks = [
            world.ask(into=thread, words=world.rng.randint(3, 30), supporting=())
            for thread in threads
        ]
        before = world.ledger.deliveries
        following = world.follow(asks, 1)
        if life:
            await _some_way(world, world.rng.randrange(life), following)
            killed |= {ask for ask in asks if ask.end is None}
            world.faults += 1
            await server.kill()
            await server.start()
        await following
        life = world.ledger.deliveries - before
        threads = [ask.thread_id for ask in asks]
        world.faults += 1
        await server.kill()  # between turns
        await server.start()
    world.facts["turns of each thread"] = len(world.asks) // len(threads)
    _compare_states(world)
    return len(killed)


def _compare_states(world: World) -> None:
    """The state that each thread's last run has left, with the thread's messages."""
    for thread in {ask.thread_id for ask in world.asks}:
        rows = world.query(
            "SELECT m.role, m.content, s.value FROM messages m LEFT JOIN graph_states s ON s.message_id = m.id"
            f" WHERE m.thread_id = '{thread}' ORDER BY m.rowid"
        )
        kept = [value for *_, value in rows if value is not None]
        if len(kept) != 2 or rows[-1][2] is None:
            world.ledger.problem("lost", f"thread {thread} keeps {len(kept)} states")
        elif problem := wrong(kept[-1], [(role, content) for role, content, _ in rows]):
            world.ledger.problem("changed", f"the state of thread {thread}: {problem}")


async def kill_on_ack(world: World, trials: int) -> int:
    """kill -9 in the moment in which acknowledgements arrive."""
    server = await world.server()
    acknowledged = 0
    while acknowledged < trials:
        asks = [world.ask(words=3, delay=0, supporting=()) for _ in range(BATCH)]
        due = world.rng.randint(1, BATCH)

        def acked(asks: list[Ask] = asks, due: int = due) -> None:
            if sum(ask.message_id is not None for ask in asks) == due:
                server.signal(signal.SIGKILL)

        ways = [_post if world.rng.random() < 0.5 else _say for _ in asks]
        await asyncio.gather(
            *(way(server, ask, acked) for way, ask in zip(ways, asks, strict=True))
        )
        acknowledged += sum(ask.message_id is not None for ask in asks)
        world.faults += 1
        await server.kill()
        await server.start()
        await world.follow(asks, 1)
    return acknowledged


async def _post(server: Server, ask: Ask, acked: Callable[[], None]) -> None:
    """Send a message by HTTP; the acknowledgement is a 202."""
    try:
        status, told = await exchange(
            server.port, "POST", "/api/v1/runs", ask.body, **{"Idempotency-Key": ask.key}
        )
    except LOST:
        return
    if status == 202:
        ask.run_id, ask.thread_id, ask.message_id = (
            told["run_id"],
            told["thread_id"],
            told["message_id"],
        )
        acked()


async def _say(server: Server, ask: Ask, acked: Callable[[], None]) -> None:
    """Send a message by WebSocket; the acknowledgement is its `message_saved`."""
    try:
        async with connect(
            f"ws://127.0.0.1:{server.port}/api/v1/ws", proxy=None, close_timeout=0.1
        ) as socket:
            await socket.send(
                json.dumps({"type": "message", "idempotency_key": ask.key, **ask.body})
            )
            async with asyncio.timeout(20):
                while (frame := json.loads(await socket.recv()))["type"] != "message_saved":
                    pass
    except LOST:
        return
    ask.run_id, ask.thread_id, ask.message_id = (
        frame["run_id"],
        frame["thread_id"],
        frame["message"]["id"],
    )
    acked()


async def zombies(world: World, trials: int) -> int:
    """SIGSTOP the owner beyond its lease, let the other process finish, SIGCONT: nothing may change any more."""
    first, second = await asyncio.gather(
        world.server(lease_seconds=LEASE), world.server(lease_seconds=LEASE)
    )
    world.ledger.zombies = True
    frozen, took, ended = 0, [], 0
    while frozen < trials:
        asks = [world.ask(words=80, delay=0.005, supporting=()) for _ in range(5)]
        for ask in asks:
            await _post(first, ask, lambda: None)
        following = world.follow(asks, ports=lambda second=second: [second.port])
        await asyncio.sleep(world.rng.uniform(0, 0.4))
        first.signal(signal.SIGSTOP)
        world.faults += 1
        stopped = asyncio.get_running_loop().time()
        runs = {ask.run_id for ask in asks}
        frozen += sum(
            run_id in runs
            for (run_id,) in world.query("SELECT id FROM runs WHERE status = 'running'")
        )
        readers = await following
        if again := [
            reader.seen_at["run_attempt"] for reader in readers if "run_attempt" in reader.seen_at
        ]:
            took.append(min(again) - stopped)
        before = _everything(world, asks)
        first.signal(signal.SIGCONT)
        await _settled(world, first, asks)
        ended += not first.alive
        if before != _everything(world, asks):
            world.ledger.problem(
                "changed", f"after SIGCONT the log of {[ask.run_id for ask in asks]} is another one"
            )
        if not first.alive:
            await first.start()
        first, second = second, first
    world.facts["lease"] = f"{LEASE:g} s"
    world.facts["taken over within"] = _seconds(took)
    world.facts["killed because it held the file"] = ended
    if took and max(took) > LEASE + 2 + world.slack:
        world.ledger.problem("other", f"taken over after {took}")
    return frozen


def _everything(world: World, asks: list[Ask]) -> list[object]:
    """All that the disk says about runs."""
    runs = "(" + ", ".join(f"'{ask.run_id}'" for ask in asks) + ")"
    tables = ("events", "messages", "checkpoints", "checkpoint_writes")
    found = [
        world.query(f"SELECT * FROM {table} WHERE run_id IN {runs} ORDER BY 1, 2, 3")
        for table in tables
    ]
    return [*found, world.query(f"SELECT * FROM runs WHERE id IN {runs} ORDER BY id")]


async def _settled(world: World, server: Server, asks: list[Ask]) -> None:
    """Wait until a process that was woken up has read all that its model had sent it, and has answered somebody."""
    numbers = {number for ask in asks for _, number in ask.calls}
    await until(
        lambda: all(world.model.server.requests[n].ended for n in numbers),
        "the zombie's model streams",
    )
    if server.alive:
        probe = world.ask(words=3, supporting=(), into=None)
        await world.follow(
            [probe], 1, ports=lambda: [p.port for p in world.servers if p is server and p.alive]
        )


async def cuts(world: World, trials: int) -> int:
    """Random cuts of random kinds, over SSE and WebSocket, mixed within one reader.

    What counts is a cut in the middle of a run's stream: behind an event of this connection, and before the run's end.
    """
    server = await world.server()
    breaks = world.ledger.breaks
    async with Proxy(lambda: server.port, world.rng, lambda: breaks.total() >= trials) as proxy:
        while breaks.total() < trials:
            few = min(trials, BATCH * BATCH)  # few cuts need few and short runs
            asks = [world.ask(words=60 + 3 * few, delay=0.01) for _ in range(2 + few // 12)]
            await world.follow(asks, ports=lambda: [proxy.port], idle=1.5)
        world.faults = proxy.cuts.total()
        world.facts["cuts"] = _counted(proxy.cuts)
        world.facts["streams cut"] = _counted(breaks)
    return breaks.total()


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{name}: {n}" for name, n in sorted(counter.items()))


async def poison(world: World, trials: int) -> int:
    """A run whose model call kills the server each time is given up; its neighbour, running meanwhile, completes."""
    server = await world.server()
    codes: Counter[str] = Counter()
    for _ in range(trials):

        def kills(agent: str, _: int) -> None:
            if agent == "troubleshooting":
                world.faults += 1
                server.signal(signal.SIGKILL)

        bad = world.ask(supporting=(), script=kills, into=None, ends=FAILED)
        good = world.ask(words=200, delay=0.01, into=None)
        following = world.follow([bad, good], 1)
        while not following.done():
            await until(
                lambda following=following: not server.alive or following.done(),
                "a crash or the end of both runs",
                90,
            )
            if not server.alive:
                await server.ended()
                await server.start()
        await following
        codes.update(_codes(world, bad))
    world.facts["ended as"] = _counted(codes)
    if set(codes) != {"CRASH_LOOP"}:
        world.ledger.problem("other", f"poisoned runs ended as {codes}")
    return trials


def _codes(world: World, ask: Ask) -> list[str]:
    return [e["code"] for e in world.log().get(ask.thread_id or "", ()) if e["type"] == "run_error"]


async def sigterm(world: World, trials: int) -> int:
    """SIGTERM while runs are under way: streams end without a terminal event, exit status 0, no attempt is charged."""
    server = await world.server()
    took, stopped = [], 0
    while stopped < trials:
        asks = [world.ask(words=150, delay=0.01) for _ in range(5)]
        following = world.follow(asks)
        await until(lambda asks=asks: all(ask.run_id for ask in asks), "all runs to begin")
        await _some_way(world, world.rng.randrange(200), following)
        charged = _charges(world)
        underway = [ask for ask in asks if ask.end is None]
        stopped += len(underway)
        world.faults += 1
        begun = time.monotonic()
        server.signal(signal.SIGTERM)
        status = await server.ended()
        took.append(time.monotonic() - begun)
        if status != 0:
            world.ledger.problem("other", f"SIGTERM: exit status {status}")
        for run_id, charges in _charges(world).items():
            if charges > max(charged.get(run_id, 1) - 1, 0) and run_id in {
                ask.run_id for ask in underway
            }:
                was = world.query(f"SELECT status FROM runs WHERE id = '{run_id}'")[0][0]
                if was in ("queued", "running"):
                    world.ledger.problem(
                        "other", f"{run_id} is {was} and charged {charges} after SIGTERM"
                    )
        await server.start()
        for reader in await following:
            if odd := {end for end in reader.ends if end.startswith("closed") and end not in GOING}:
                world.ledger.problem("other", f"{reader} was left with {odd}")
    world.facts["exited within"] = _seconds(took)
    return stopped


def _charges(world: World) -> dict[str, int]:
    return dict(world.query("SELECT id, charges FROM runs"))


async def cancels(world: World, trials: int) -> int:
    """Two connections cancel the same run at the same time, at any time of its life, and again when it has ended.

    The answer of every other run never ends by itself: it ends by its cancel, or not as it should.
    """
    server = await world.server()
    took = []
    for begin in range(0, trials, BATCH):
        count = min(BATCH, trials - begin)
        asks = [_cancellable(world, endless=number % 2 == 0) for number in range(count)]
        following = world.follow(asks)
        await until(lambda asks=asks: all(ask.run_id for ask in asks), "all runs to begin")
        took += await asyncio.gather(*(_cancel(world, server, ask) for ask in asks))
        await following
    world.faults = 3 * trials
    world.facts["ended after"] = _seconds(took)
    if max(took) > 1 + world.slack:
        world.ledger.problem("other", f"cancelled only after {max(took):.2f} s")
    return trials


def _cancellable(world: World, endless: bool) -> Ask:
    """A run that is to be cancelled. `model_seconds` are so many that nothing else can end it in time."""

    def hang(agent: str, _: int) -> Any:
        return {"hang_after": 60} if agent == "troubleshooting" else None

    if endless:
        return world.ask(words=61, delay=0.01, into=None, ends=CANCELLED, script=hang)
    return world.ask(words=60, delay=0.01, into=None, ends=COMPLETE + CANCELLED)


async def _cancel(world: World, server: Server, ask: Ask) -> float:
    if world.rng.random() < 0.5:
        await until(lambda: "troubleshooting" in dict(ask.calls) or ask.end, "the answer to begin")
    await asyncio.sleep(world.rng.uniform(0, 0.8))
    begun = time.monotonic()

    async def by_socket() -> None:
        async with connect(
            f"ws://127.0.0.1:{server.port}/api/v1/ws", proxy=None, close_timeout=0.1
        ) as socket:
            await socket.send(json.dumps({"type": "cancel", "run_id": ask.run_id}))
            await socket.send('{"type": "ping"}')
            async with asyncio.timeout(20):
                while json.loads(await socket.recv())["type"] != "pong":
                    pass

    await asyncio.gather(_cancel_by_post(world, server, ask), by_socket())
    await until(lambda: ask.end is not None, "a cancelled run to end")
    took = time.monotonic() - begun
    await _cancel_by_post(world, server, ask)
    return took


async def _cancel_by_post(world: World, server: Server, ask: Ask) -> None:
    status, told = await exchange(server.port, "POST", f"/api/v1/runs/{ask.run_id}/cancel")
    if status not in (200, 202):
        world.ledger.problem("other", f"{ask.key}: its cancel was answered with {status} {told}")


MODEL_FAULTS: dict[str, dict[str, object]] = {
    "5xx": {"status": 503},
    "429": {"status": 429, "headers": {"Retry-After": "1"}},
    "cut": {"fail_after": 5},
    "garbage": {"garbage_after": 5},
    "hang": {"hang_after": 5},
    "no finish": {"end_without_finish": True},
}


async def model_faults(world: World, trials: int) -> int:
    """Six ways of a model to misbehave, once or for ever: the run completes, or ends in one error. Clean text."""
    await world.server(model_seconds=1)
    ends: dict[str, Counter[str]] = {kind: Counter() for kind in MODEL_FAULTS}
    for begin in range(0, trials, 3):
        kinds = [*MODEL_FAULTS] * min(3, trials - begin)
        once = {_misled(world, kind, always=False): kind for kind in kinds}
        always = {_misled(world, kind, always=True): kind for kind in kinds}
        world.faults += len(once | always)
        await world.follow([*once, *always], 1)
        for ask, kind in (once | always).items():
            ends[kind].update(_codes(world, ask) or [str(ask.end)])
            if sum(agent == "troubleshooting" for agent, _ in ask.calls) < 2:
                world.ledger.problem(
                    "other", f"{ask.key}: after {kind}, the model was not asked again"
                )
    world.facts["ended as"] = "; ".join(
        f"{kind}: {_counted(count)}" for kind, count in ends.items()
    )
    return trials * len(MODEL_FAULTS) * 2


def _misled(world: World, kind: str, always: bool) -> Ask:
    """A run whose model misbehaves: when it is first asked for the answer, or for whatever text it is asked.

    Where only one specialist failed for ever, another one would answer in its place.
    """

    def misbehave(agent: str, nth: int) -> Any:
        hit = agent != "classifier" if always else (agent, nth) == ("troubleshooting", 0)
        return MODEL_FAULTS[kind] if hit else None

    ends, supporting = (FAILED, ()) if always else (COMPLETE, ("maintenance",))
    return world.ask(script=misbehave, supporting=supporting, into=None, ends=ends)


async def takeover(world: World, trials: int) -> int:
    """kill -9 the owner while a second process runs: it goes on at once, far within the lease of 60 s, and not before.

    At once: the second process looks once a second, and takes up one run every half second. Before the kill it has
    time to look, and must leave alone what lives.
    """
    first, second = await asyncio.gather(*(world.server(lease_seconds=LONG_LEASE) for _ in "12"))
    firsts, others, ended = [], [], []
    for trial in range(trials):
        if trial:
            await second.start()
        asks = [world.ask(words=300, delay=0.01, supporting=(), into=None) for _ in range(2)]
        await asyncio.gather(*(_begin(world, first, ask) for ask in asks))
        following = world.follow(asks, ports=lambda second=second: [second.port])
        await asyncio.sleep(1.5 * SCAN_SECONDS + world.rng.uniform(0, 0.5))
        world.faults += 1
        killed = asyncio.get_running_loop().time()
        await first.kill()
        readers = await following
        again = sorted(
            {
                r.ask: r.seen_at["run_attempt"] - killed
                for r in readers
                if "run_attempt" in r.seen_at
            }.values()
        )
        if not again or again[0] < 0:
            world.ledger.problem(
                "rerun", f"runs were taken over {again} s after their process was killed"
            )
        firsts += again[:1]
        others += again[1:]
        ended += [max(reader.seen_at.values()) - killed for reader in readers]
        first, second = second, first
    world.facts["first run taken over within"] = _seconds(firsts)
    world.facts["second one within"] = _seconds(others)
    world.facts["ended within"] = _seconds(ended)
    at_once = AT_ONCE + world.slack
    if max(firsts, default=0) > at_once or max(others, default=0) > at_once + QUARANTINE_SECONDS:
        world.ledger.problem("other", f"taken over only after {firsts} s, {others} s")
    return trials


async def _begin(world: World, server: Server, ask: Ask) -> None:
    """Send a message to a server that is well, which has to accept it."""
    await _post(server, ask, lambda: None)
    if ask.message_id is None:
        world.ledger.problem("other", f"{ask.key} was not accepted")


async def disk_full(world: World, trials: int) -> int:
    """Files may not grow, or a foreign process holds the write lock for 3 s: refused or delayed, then well again."""
    servers = [await world.server()]
    answers: Counter[str] = Counter()
    for number in range(trials):
        if number == max(1, trials // 2):
            servers.append(await world.server())
        asks = [world.ask(words=40, delay=0.01, into=None) for _ in range(3)]
        following = world.follow(asks, 1)
        await until(lambda asks=asks: all(ask.run_id for ask in asks), "all runs to begin")
        await _some_way(world, world.rng.randrange(60), following)
        world.faults += 1
        late = [world.ask(words=3, delay=0, supporting=(), into=None) for _ in range(3)]
        if number % 2:
            foreign = sqlite3.connect(world.folder / "log.db", isolation_level=None, timeout=5)
            foreign.execute("BEGIN IMMEDIATE")
        else:
            for server in servers:
                server.limit_files(0)
        posting = asyncio.gather(*(_posted(world.rng.choice(servers), ask) for ask in late))
        await asyncio.sleep(3)
        if number % 2:
            foreign.execute("ROLLBACK")
            foreign.close()
        else:
            for server in servers:
                server.limit_files(resource.RLIM_INFINITY)
        answers.update(await posting)
        await following
        await world.follow(late, 1)
        answers.update(str(ask.end).removeprefix("run_") for ask in asks)
    world.facts["answers and ends"] = ", ".join(
        f"{answer}: {n}" for answer, n in sorted(answers.items())
    )
    if odd := {answer for answer in answers if answer.isdigit()} - {"202", "503"}:
        world.ledger.problem("other", f"a disk that takes nothing was answered as {odd}")
    if not all(server.alive for server in servers):
        world.ledger.problem("other", "a server went down")
    return trials


async def _posted(server: Server, ask: Ask) -> str:
    try:
        status, told = await exchange(
            server.port, "POST", "/api/v1/runs", ask.body, **{"Idempotency-Key": ask.key}
        )
    except LOST as error:
        return type(error).__name__
    if status == 202:
        ask.run_id, ask.thread_id, ask.message_id = (
            told["run_id"],
            told["thread_id"],
            told["message_id"],
        )
    return str(status)


STUCK = {"sse": 24, "websocket": 8}
SEGMENT_BYTES = 88
"""With segments so small, the system keeps little of what a client does not take. A server that sends a run in fewer,
longer events because it is busy still has more to send than fits.
"""


async def stuck_readers(world: World, trials: int) -> int:
    """24 SSE and 8 WebSocket clients that never read: the one that reads notices nothing, the memory does not grow."""
    server = await world.server(send_seconds=10 * PATIENCE)
    alone, among, grown = [], [], []
    for _ in range(trials):
        alone.append(await _read_alone(world, server))
        before = server.rss
        gate = threading.Event()
        ask = await _long_run(world, server, gate)
        stuck = await asyncio.gather(
            *(_stuck(server, ask, way) for way, count in STUCK.items() for _ in range(count))
        )
        async with asyncio.timeout(DEADLINE):
            while await _streams(server) != STUCK:
                pass
        gate.set()
        begun = time.monotonic()
        await world.follow([ask], 1)
        among.append(time.monotonic() - begun)
        grown.append((server.rss - before) / 2**20)
        world.faults += await _still_stuck(world, server, ask)
        for one in stuck:
            one.close()
        async with asyncio.timeout(DEADLINE):
            while any((await _streams(server)).values()):
                pass
        if among[-1] > 2 * alone[-1] + 0.5 + world.slack:
            world.ledger.problem(
                "other", f"a reader was slowed down from {alone[-1]:.1f} s to {among[-1]:.1f} s"
            )
    world.facts["alone"] = _seconds(alone)
    world.facts["among the stuck"] = _seconds(among)
    world.facts["memory"] = f"+{max(grown):.1f} MiB at most"
    if max(grown) > 24:
        world.ledger.problem("other", f"memory grew by {grown} MiB")
    return trials * sum(STUCK.values())


async def _long_run(world: World, server: Server, gate: threading.Event) -> Ask:
    """Begin a run whose answer begins when the gate is opened: 200 kB, which the last three events repeat."""

    def wait(agent: str, _: int) -> Any:
        return {"gate": gate, "gate_at": 0} if agent == "troubleshooting" else None

    ask = world.ask(
        words=20_000, words_at_once=10, delay=0.001, supporting=(), into=None, script=wait
    )
    await _begin(world, server, ask)
    return ask


async def _read_alone(world: World, server: Server) -> float:
    gate = threading.Event()
    ask, begun = await _long_run(world, server, gate), time.monotonic()
    gate.set()
    await world.follow([ask], 1)
    return time.monotonic() - begun


async def _still_stuck(world: World, server: Server, ask: Ask) -> int:
    """Return how many streams are still open after the run's end, because their clients take nothing; all have to be.

    While one more reader gets the whole run, a server that keeps everything for the others would end them.
    """
    await world.follow([ask], 1, fresh=True)
    streams = await _streams(server)
    if streams != STUCK:
        world.ledger.problem("other", f"after the run's end, {streams} are stuck, not {STUCK}")
    return sum(streams.values())


async def _streams(server: Server) -> dict[str, int]:
    """Return how many streams a server has open, by transport."""
    told = await text(server.port, "/metrics")
    return {way: int(float(number)) for way, number in _STREAMS.findall(told)}


_STREAMS = re.compile(r'antiphon_streams_open\{transport="(\w+)"\} (\S+)')


async def _stuck(server: Server, ask: Ask, way: str) -> socket.socket:
    """A connection that has asked for the run's events and never takes any."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
    one.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(one, ("127.0.0.1", server.port))
    if way == "sse":
        head = f"GET /api/v1/runs/{ask.run_id}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        await loop.sock_sendall(one, head.encode())
        return one
    fields = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    await loop.sock_sendall(
        one, f"GET /api/v1/ws HTTP/1.1\r\nHost: 127.0.0.1\r\n{fields}{key}\r\n".encode()
    )
    await loop.sock_recv(one, 200)
    text = json.dumps({"type": "resume", "run_id": ask.run_id, "after": 0}).encode()
    await loop.sock_sendall(one, bytes((0x81, 0x80 | len(text), 0, 0, 0, 0)) + text)
    return one


def _seconds(times: list[float]) -> str:
    return f"{statistics.median(times):.2f} s, at most {max(times):.2f} s" if times else "-"


@dataclass(frozen=True)
class Plan:
    """How a scenario is played: `quick` trials in `make test`, `full` in `make chaos`."""

    play: Scenario
    quick: int
    full: int


SCENARIOS = {
    "kill_any": Plan(kill_any, 10, 300),
    "states": Plan(states, 10, 100),
    "kill_on_ack": Plan(kill_on_ack, 10, 200),
    "zombies": Plan(zombies, 5, 50),
    "cuts": Plan(cuts, 60, 500),
    "poison": Plan(poison, 1, 5),
    "sigterm": Plan(sigterm, 5, 50),
    "cancels": Plan(cancels, 10, 100),
    "model_faults": Plan(model_faults, 1, 10),
    "takeover": Plan(takeover, 2, 20),
    "disk_full": Plan(disk_full, 2, 20),
    "stuck_readers": Plan(stuck_readers, 1, 3),
}
