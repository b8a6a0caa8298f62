"""What is installed is one package, `antiphon`. Users' modules may have any name, also beside a
script."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import httpx
import pytest

from tests.orchestrator.projects import write
from tests.support.server import ROOT, clean_environment, server_process

OWN = {
    "api.py": "WHO = 'api'",
    "data/__init__.py": "WHO = 'data'",
    "data/records.py": "WHO = 'data.records'",
    "rag/__init__.py": "",
    "rag/retriever.py": "WHO = 'rag.retriever'",
    "orchestrator.py": "WHO = 'orchestrator'",
    "utils.py": "WHO = 'utils'",
    "tests.py": "WHO = 'tests'",
    "names.py": """
        import api, data, data.records, orchestrator, rag.retriever, tests, utils

        NAMES = [one.WHO for one in (api, data, data.records, orchestrator, rag.retriever, tests, utils)]
        """,
}
"""A user's project with the names of all of our folders."""
NAMES = ["api", "data", "data.records", "orchestrator", "rag.retriever", "tests", "utils"]

SCRIPT = """
import asyncio, json
import antiphon
from antiphon import open_engine
from names import NAMES

async def main():
    async with open_engine("sqlite:///script.db") as engine:
        run = await engine.start("What is the engine power?")
        text = await run.text()
    print(json.dumps([NAMES, text, antiphon.__file__]))

asyncio.run(main())
"""

GRAPH = """
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph
from names import NAMES

def node(state: MessagesState):
    import data, rag.retriever
    return {"messages": [AIMessage(f"{NAMES} {data.WHO} {rag.retriever.WHO}")]}

graph = StateGraph(MessagesState).add_node("node", node).add_edge(START, "node").compile()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel of this checkout is installed."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.fixture(params=["checkout", "wheel"])
def installed(request: pytest.FixtureRequest) -> Path:
    """Where `antiphon` is imported from: as `make run` installs it, and as a user's pip does."""
    return ROOT if request.param == "checkout" else request.getfixturevalue("wheel")


def test_the_wheel_holds_one_package_with_all_its_files(wheel: Path) -> None:
    names = sorted(path.name for path in wheel.iterdir() if path.suffix != ".dist-info")
    assert names == ["antiphon"]
    assert sorted(path.name for path in (wheel / "antiphon").iterdir()) == [
        *("__init__.py", "api", "data", "orchestrator", "py.typed", "rag"),
    ]
    kept = subprocess.run(
        ["git", "ls-files", "api", "data", "orchestrator", "rag"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    missing = [name for name in kept.stdout.split() if not (wheel / "antiphon" / name).is_file()]
    assert missing == []


def test_a_script_beside_modules_of_any_name(installed: Path, tmp_path: Path) -> None:
    write(tmp_path, {**OWN, "script.py": SCRIPT})
    ran = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(installed)),
        check=True,
        capture_output=True,
        text=True,
    )
    names, text, file = json.loads(ran.stdout)
    assert names == NAMES
    assert "kW" in text
    assert Path(file).is_relative_to(installed)


def test_a_served_graph_beside_modules_of_any_name(installed: Path, tmp_path: Path) -> None:
    write(tmp_path, {**OWN, "graph.py": GRAPH})
    environment = {"PYTHONPATH": str(installed)}
    graph = ("--graph", f"{tmp_path / 'graph.py'}:graph")
    with server_process(tmp_path, environment, *graph, cwd=tmp_path) as server:
        headers = {"Accept": "text/event-stream"}
        events = httpx.post(
            f"{server.url}/api/v1/runs", json={"message": "who?"}, headers=headers, timeout=60
        ).text
    assert f"{NAMES} data rag.retriever" in events, events
