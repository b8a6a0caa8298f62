"""The gallery, served: right agents, right answer, once, in two vocabularies, and after kill -9.

One server has all graphs. Each is asked its whole conversation over native SSE and over the flow
vocabulary; then once more over native SSE, with the server killed in the middle of the first turn,
when the last reply of a model is under way, and of the second, when the first one is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.graphs import catalogue
from tests.graphs.catalogue import Entry
from tests.graphs.model import GalleryModel
from tests.graphs.served import FlowTalk, Heard, NativeTalk, until, wrong, wrong_in_flows
from tests.support.deadline import DEADLINE
from tests.support.server import ProcessServer

pytestmark = [
    pytest.mark.timeout(600),  # the first test has all conversations
    pytest.mark.filterwarnings("ignore::langgraph.warnings.LangGraphDeprecationWarning"),
]

AT_ONCE = 12
"""Conversations at the same time, while nothing is killed."""
KILLS = 2
"""Turns in which the server is killed."""


class Gallery:
    """Everything that was heard, by vocabulary and graph, turn by turn."""

    def __init__(
        self, server: ProcessServer, model: GalleryModel, entries: dict[str, Entry]
    ) -> None:
        self.entries = entries
        self.native: dict[str, list[Heard]] = {name: [] for name in entries}
        self.flows: dict[str, list[Heard]] = {name: [] for name in entries}
        self.killed: dict[str, list[Heard]] = {name: [] for name in entries}
        self._server, self._model = server, model
        self._places = asyncio.Semaphore(AT_ONCE)
        self._up = asyncio.Event()

    async def play(self) -> None:
        """Have all conversations."""
        self._up.set()
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=self._server.url, limits=limits, timeout=None
        ) as client:
            await asyncio.gather(*(self._speak_native(name, client) for name in self.entries))
            await asyncio.gather(*(self._speak_flows(name, client) for name in self.entries))
            talks = {name: NativeTalk(name, client, self._up) for name in self.entries}
            rounds = max(len(entry.example.turns) for entry in self.entries.values())
            for number in range(rounds):
                await self._play_round(number, talks)

    async def _speak_native(self, name: str, client: httpx.AsyncClient) -> None:
        async with self._places:
            talk = NativeTalk(name, client, self._up)
            for turn in self.entries[name].example.turns:
                self._model.begin(name)
                heard = await talk.take(turn)
                heard.requests = self._model.count(name)
                self.native[name].append(heard)

    async def _speak_flows(self, name: str, client: httpx.AsyncClient) -> None:
        async with self._places:
            talk = FlowTalk(name, client, self._server.ws)
            for turn in self.entries[name].example.turns:
                self._model.begin(name)
                if not turn.request:  # which this vocabulary cannot carry
                    self.flows[name].append(await talk.take(turn))

    async def _play_round(self, number: int, talks: dict[str, NativeTalk]) -> None:
        """Take turn `number` in all conversations at once; the server is killed in the first
        two.
        """
        tasks: dict[str, asyncio.Task[Heard]] = {}
        for name, talk in talks.items():
            turns = self.entries[name].example.turns
            if number < len(turns):
                self._model.begin(name, hold=self._held_request(name, number))
                tasks[name] = asyncio.create_task(talk.take(turns[number]))
        if number < KILLS:
            reached = await until(
                lambda: all(self._model.is_held(name) or tasks[name].done() for name in tasks),
                DEADLINE,
            )
            assert reached, "a graph has not come to the request that is held"
            self._up.clear()
            self._server.kill()
            self._model.release()
            await asyncio.to_thread(self._server.start)
            self._up.set()
        for name, task in tasks.items():
            heard = await task
            heard.requests = self._model.count(name)
            self.killed[name].append(heard)

    def _held_request(self, name: str, number: int) -> int:
        requests = self.native[name][number].requests
        return {0: requests, 1: min(requests, 1)}.get(number, 0)


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gallery]:
    folder = tmp_path_factory.mktemp("gallery")
    with GalleryModel() as model:
        with catalogue.model_environment(model.base_url):
            entries = {name: catalogue.load(name) for name in catalogue.names()}
        for entry in entries.values():
            model.know(entry.name, entry.example)
        yield asyncio.run(_played(folder, model, entries))


async def _played(folder: Path, model: GalleryModel, entries: dict[str, Entry]) -> Gallery:
    async with _serving(folder, model, entries) as server:
        gallery = Gallery(server, model, entries)
        await gallery.play()
        return gallery


@asynccontextmanager
async def _serving(
    folder: Path, model: GalleryModel, entries: dict[str, Entry]
) -> AsyncIterator[ProcessServer]:
    environment = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": "sk-gallery"}
    listings = [catalogue.write_listing(folder, entries.values()), *catalogue.projects()]
    options = [part for path in listings for part in ("--graph", str(path))]
    server = ProcessServer(folder, environment, *options)
    try:
        await asyncio.to_thread(server.start)
        yield server
    finally:
        await asyncio.to_thread(server.kill)


def _report(problems: Iterable[list[str]]) -> str:
    """Return what is wrong, turn by turn; empty if nothing is."""
    return "\n".join(
        f"turn {number}: {one}" for number, found in enumerate(problems, 1) for one in found
    )


@pytest.mark.parametrize("name", catalogue.names())
def test_a_graph_answers_over_native_sse(name: str, gallery: Gallery) -> None:
    turns = gallery.entries[name].example.turns
    problems = _report(
        wrong(turn, heard) for turn, heard in zip(turns, gallery.native[name], strict=True)
    )
    assert not problems, problems


@pytest.mark.parametrize("name", catalogue.names())
def test_a_graph_answers_in_the_flow_vocabulary(name: str, gallery: Gallery) -> None:
    turns = [turn for turn in gallery.entries[name].example.turns if not turn.request]
    heard = zip(turns, gallery.flows[name], strict=True)
    problems = _report(wrong_in_flows(turn, flow) for turn, flow in heard)
    assert not problems, problems


@pytest.mark.parametrize("name", catalogue.names())
def test_a_graph_answers_all_the_same_if_the_server_is_killed(name: str, gallery: Gallery) -> None:
    turns = gallery.entries[name].example.turns
    problems = _report(
        wrong(turn, heard) for turn, heard in zip(turns, gallery.killed[name], strict=True)
    )
    assert not problems, problems
    for number, turn in enumerate(turns):
        before, after = gallery.native[name][number], gallery.killed[name][number]
        if not turn.agents:
            continue  # what is cached is done the first time only
        assert after.done == before.done, "what was done is done again"
        if number < KILLS and before.requests:
            assert after.recovered, "the kill has missed the run"
            assert after.requests <= before.requests + 1 + gallery.entries[name].example.again
