"""How the documents' clients are run."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.deadline import DEADLINE

HERE = Path(__file__).parent
NODE = shutil.which("node")
needs_node = pytest.mark.skipif(NODE is None, reason="there is no node here")
HOSTILE = "One\u2028two\u2029three\x85four\r\nfive\rsix\n\nseven 🙂 \u202e eight: data: nine\n\nevent: ten\x0b\x0c\x1c."
"""An answer with everything that naive line readers may split at."""


def cuts_within(cuts: Sequence[int], frames: int) -> int:
    """Return how many of these cuts, each after so many frames, lie within the frames that came.

    A busy server merges what it has to send into fewer, longer frames: then it may end before the last cuts.
    """
    return sum(cut <= frames for cut in cuts)


async def run(*command: str) -> str:
    """What a process prints; it must end well."""
    environment = {
        name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")
    }
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment
    )
    try:
        async with asyncio.timeout(DEADLINE):
            out, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, error.decode()
    return out.decode()


async def node(script: str, **task: Any) -> dict[str, Any]:
    """What a client in JavaScript prints."""
    told = await run(str(NODE), "--experimental-websocket", str(HERE / script), json.dumps(task))
    result: dict[str, Any] = json.loads(told)
    return result
