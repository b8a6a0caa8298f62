"""A load: so many readers at once, each asking a few times in a row. The same code drives servers and raw graphs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import msgspec

WORD = "token"
"""Every token of the model server's answer holds this word once."""
STUCK_SECONDS = 300
"""A plan that takes longer has failed."""


class Plan(msgspec.Struct, frozen=True):
    """`streams` readers ask `each` times in a row; they begin evenly spread over `spread` seconds."""

    streams: int
    each: int
    spread: float


class Answer(msgspec.Struct, frozen=True):
    """One streamed answer: seconds to its first token, its tokens, and the pieces that they came in."""

    first: float
    tokens: int
    pieces: int


class Played(msgspec.Struct, frozen=True):
    """What a plan gave: all answers, and the seconds from the first question to the last end."""

    answers: list[Answer]
    seconds: float


async def play(ask: Callable[[], Awaitable[Answer]], plan: Plan) -> Played:
    """Play a plan."""

    async def reader(number: int) -> list[Answer]:
        await asyncio.sleep(plan.spread * number / plan.streams)
        return [await ask() for _ in range(plan.each)]

    began = time.perf_counter()
    async with asyncio.timeout(STUCK_SECONDS):
        answers = await asyncio.gather(*map(reader, range(plan.streams)))
    return Played([one for some in answers for one in some], time.perf_counter() - began)
