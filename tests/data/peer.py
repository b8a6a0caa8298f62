"""A process with a database open: it answers each line of JSON, which is one thing to do."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

from antiphon.data import open_database, transactions
from antiphon.data.transactions import Transaction
from tests.data.support import acceptance


def say(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def hold_the_file(_tx: Transaction) -> None:
    """Stand still inside a write transaction for ever."""
    say(blocks=True)
    threading.Event().wait()


async def main(url: str) -> None:
    database = await open_database(url)
    say(worker_id=database.worker_id)
    while line := await asyncio.to_thread(sys.stdin.readline):
        wanted = json.loads(line)
        if wanted["do"] == "block":
            database._writer.submit(hold_the_file)
            continue
        given = acceptance(thread_id=wanted["thread_id"], worker=database.worker_id)
        run = (await database.write(transactions.accept, given)).run
        say(run_id=run.id, thread_id=run.thread_id)
    await database.close()


asyncio.run(main(sys.argv[1]))
