"""Plays a plan: concurrent readers that each ask a few times, of a server or of a raw graph."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import chain

import msgspec

WORD = "token"
"""Every token of the model server's answer contains this word once."""
STUCK_SECONDS = 300
"""The time after which a plan fails."""


class LoadPlan(msgspec.Struct, frozen=True):
    """`streams` readers ask `each` times in a row, and start within `spread` seconds."""

    streams: int
    each: int
    spread: float


class Answer(msgspec.Struct, frozen=True):
    """A streamed answer: seconds to its first token, its tokens, and the pieces they came in."""

    first: float
    tokens: int
    pieces: int


class Played(msgspec.Struct, frozen=True):
    """The result of a plan: all answers, and the seconds from the first question to the end."""

    answers: list[Answer]
    seconds: float


async def play(ask: Callable[[], Awaitable[Answer]], plan: LoadPlan) -> Played:
    """Play a plan. Raises `TimeoutError` if it takes longer than `STUCK_SECONDS`."""

    async def reader(number: int) -> list[Answer]:
        await asyncio.sleep(plan.spread * number / plan.streams)
        return [await ask() for _ in range(plan.each)]

    began = time.perf_counter()
    async with asyncio.timeout(STUCK_SECONDS):
        by_reader = await asyncio.gather(*map(reader, range(plan.streams)))
    return Played([*chain.from_iterable(by_reader)], time.perf_counter() - began)
