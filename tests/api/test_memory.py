"""A graph with a long memory, over the wire: what it keeps in one thread, it knows in the next."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.api.order import check_native
from tests.api.wire import SOON, sse_all, text_of
from tests.support.model_server import ModelRequest, Reply, ThreadedModelServer
from tests.support.server import API_KEY, ROOT, server_process

GRAPH = ROOT / "tests" / "api" / "memory.py"
RUNS = "/api/v1/runs"


def forgetful(request: ModelRequest) -> Reply:
    """A model that keeps each statement by the tool, and tells its memories if it is asked."""
    said = request.last_user
    if said.endswith("?"):
        return Reply(request.system)
    if request.messages[-1]["role"] == "tool":
        return Reply("I shall remember.")
    return Reply(tool_calls=[{"name": "upsert_memory", "arguments": {"content": said}}])


async def ask(url: str, message: str) -> tuple[str, str]:
    """The answer in a new thread, and the thread."""
    async with httpx.AsyncClient(base_url=url, timeout=SOON, trust_env=False) as client:
        blocks = await sse_all(client, "POST", RUNS, json={"message": message})
    check_native([block.data for block in blocks])
    end = blocks[-1].data
    assert (end["type"], end["text"]) == ("run_complete", text_of(blocks))
    return end["text"], end["thread_id"]


async def test_what_a_graph_keeps_it_knows_in_the_next_thread_also_after_kill_9(
    tmp_path: Path,
) -> None:
    with ThreadedModelServer(forgetful) as model:
        environment = {"OPENAI_BASE_URL": model.base_url, "OPENAI_API_KEY": API_KEY}
        with server_process(tmp_path, environment, "--graph", f"{GRAPH}:graph") as server:
            _, first = await ask(server.url, "I drink green tea.")
            _, second = await ask(server.url, "My bicycle is red.")
            server.kill()
            server.start()
            known, thread = await ask(server.url, "What is the colour of my bicycle?")
        assert [line.partition("]: ")[2] for line in known.splitlines()[1:]] == [
            "My bicycle is red.",
            "I drink green tea.",
        ]
        assert len({first, second, thread}) == 3
        assert model.script_errors == []
