"""A process that runs the team, or another graph, until somebody kills it.

`python -m tests.orchestrator.child DATABASE BASE_URL MESSAGE [GRAPH [THREAD]]`, where the graph is
a name, or `path.py:name`.

It prints the run's id once the message is acknowledged, and then each event of the run that is
committed, one per line."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from antiphon import Environment, Request, open_engine
from antiphon.orchestrator.events import encode


class Nothing:
    """Knows nothing, quickly."""

    async def search(self, question: str, access: Any) -> list[Any]:
        return []


async def main(
    database: str, base_url: str, message: str, graph: str | None = None, thread: str | None = None
) -> None:
    own = [graph] if graph and ".py:" in graph else []
    environment = Environment(base_url=base_url, retriever=Nothing())
    model = "openai:gpt-4o-mini"
    async with open_engine(database, graphs=own, model=model, environment=environment) as engine:
        chosen = None if own else graph
        own_id = None if own else "mine"
        asked = Request(message=message, message_id=own_id, graph=chosen, thread_id=thread)
        run = await engine.accept(asked)
        print(run.id, flush=True)
        async for recorded in run:
            print(encode(recorded.event).decode(), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
