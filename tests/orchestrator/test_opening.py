"""Opening an engine by plain arguments, and releasing everything at the end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from antiphon import Environment, open_engine
from antiphon.data.errors import StorageError
from antiphon.orchestrator.opening import check, default_database
from antiphon.orchestrator.team.offline import OfflineModel
from tests.orchestrator.support import Knowledge, chain, opened, saying

QUICK = OfflineModel(seconds_per_word=0)
NO_HANDBOOK = Environment(retriever=Knowledge())


async def test_without_a_retriever_the_shipped_handbook_is_known(url: str, tmp_path: Path) -> None:
    for _ in range(2):
        async with open_engine(url, model=QUICK) as engine:
            assert "81 kW" in await (await engine.start("What is the engine power?")).text()
    assert (tmp_path / "antiphon-knowledge.db").exists()


async def test_a_database_in_memory_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with open_engine("memory://", model=QUICK) as engine:
        run = await engine.start("What is the engine power?")
        assert "81 kW" in await run.text()
        assert [message.role for message in await engine.messages(run.thread_id)] == [
            "user",
            "assistant",
        ]
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs


def test_the_default_database_is_a_file() -> None:
    assert default_database().startswith("sqlite:///")
    assert default_database().endswith("antiphon.db")


async def test_the_first_graph_is_the_default_and_the_team_is_always_there(url: str) -> None:
    async with opened(url, chain("mine", node=saying("hi"))) as engine:
        assert (engine.default_graph, list(engine.graphs)) == ("mine", ["mine", "team"])
    async with opened(url) as engine:
        assert (engine.default_graph, list(engine.graphs)) == ("team", ["team"])


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"model": "oracle"}, ValueError),
        ({"graphs": ["nowhere.py:graph"]}, FileNotFoundError),
        ({"graphs": [7]}, TypeError),
        ({"database": "mysql://here"}, ValueError),
        ({"database": "sqlite:////proc/nowhere/x.db"}, StorageError),
    ],
)
async def test_what_cannot_be_opened_is_said_at_once(
    url: str, given: dict[str, object], error: type[Exception]
) -> None:
    with pytest.raises(error):
        async with open_engine(**{"database": url, "environment": NO_HANDBOOK} | given):  # type: ignore[arg-type]
            pass


def test_a_model_and_graphs_can_be_checked_before_anything_is_opened() -> None:
    check("offline", [chain("mine", node=saying("hi"))])
    with pytest.raises(ValueError, match="unknown model"):
        check("oracle", [])
    with pytest.raises(FileNotFoundError):
        check("offline", ["nowhere.py:graph"])


async def test_closing_twice_is_closing_once(url: str) -> None:
    async with opened(url) as engine:
        await engine.close()


async def test_what_happens_is_observed(url: str) -> None:
    seen: dict[str, float] = {}

    def observe(name: str, value: float) -> None:
        seen[name] = seen.get(name, 0) + value

    async with opened(url, model=QUICK, observe=observe) as engine:
        await (await engine.start("hello")).wait()
    assert {"chunk", "first_token", "output_tokens"} <= set(seen)


GRAPH = """
from tests.orchestrator.support import chain, saying
graph = chain(node=saying("hi"))
"""


async def test_the_configuration_of_a_store_is_that_of_the_first_langgraph_json_that_has_one(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "graph.py").write_text(GRAPH)
    listings = []
    for number, ttl in enumerate([None, {"default_ttl": 1}, {"default_ttl": 2}, 7]):
        listing = {
            "graphs": {f"g{number}": "./graph.py:graph"},
            "store": {"ttl": ttl} if ttl else None,
        }
        listings.append(tmp_path / f"{number}.json")
        listings[-1].write_text(json.dumps(listing))
    async with opened(url, *check("offline", listings[:3])) as engine:
        assert engine.environment.store
        assert engine.environment.store.ttl_config == {"default_ttl": 1, "refresh_on_read": True}
    assert "the first one counts" in caplog.text
    async with opened(url, listings[1], store={"ttl": {"default_ttl": 9}}) as engine:
        assert engine.environment.store
        assert engine.environment.store.ttl_config
        assert engine.environment.store.ttl_config["default_ttl"] == 9
    with pytest.raises(ValueError, match="the store's configuration"):
        check("offline", [listings[3]])
