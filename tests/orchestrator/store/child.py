"""A process that puts one item after another, from its loop and a thread, until it is killed.

`python -m tests.orchestrator.store.child DATABASE`
It prints `NAMESPACE KEY` of an item once `put` has returned.
"""

from __future__ import annotations

import asyncio
import os
import sys
from itertools import count

from antiphon.data import open_database
from antiphon.orchestrator.store import GraphStore, open_graph_store


def acknowledge(namespace: str, number: int) -> None:
    os.write(1, f"{namespace} {number}\n".encode())  # at once, whatever another thread writes


async def on_the_loop(store: GraphStore) -> None:
    for number in count():
        await store.aput(("loop",), str(number), {"n": number})
        acknowledge("loop", number)


def in_a_thread(store: GraphStore) -> None:
    for number in count():
        store.put(("thread",), str(number), {"n": number})
        acknowledge("thread", number)


async def main(database: str) -> None:
    async with open_graph_store(await open_database(database)) as store:
        await asyncio.gather(on_the_loop(store), asyncio.to_thread(in_a_thread, store))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
