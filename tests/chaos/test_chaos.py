"""Each scenario of the chaos suite at quick size: nothing lost, nothing twice, nothing changed, one
terminal event."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.scenarios import SCENARIOS, Result, perform

TOGETHER = {
    "model_faults": 1,
    "disk_full": 2,
    "poison": 1,
    "kill_any": 3,
    "states": 4,
    "kill_on_ack": 10,
    "zombies": 3,
    "cuts": 20,
    "sigterm": 5,
}
"""Those that mostly wait, and have time: they wait side by side."""
ALONE = {"cancels": 10, "takeover": 1, "stuck_readers": 1}
"""Those that have a short time to keep."""


def test_that_every_scenario_is_played() -> None:
    assert set(TOGETHER) | set(ALONE) == set(SCENARIOS)


async def test_that_nothing_is_lost() -> None:
    few = asyncio.Semaphore(4)

    async def play(name: str) -> Result:
        async with few:
            return await perform(name, TOGETHER[name], seed=1)

    for result in await asyncio.gather(*map(play, TOGETHER)):
        check(result, TOGETHER[result.name])


@pytest.mark.parametrize("name", ALONE)
async def test_that_nothing_is_lost_in_time(name: str) -> None:
    check(await perform(name, ALONE[name], seed=1), ALONE[name])


def check(result: Result, trials: int) -> None:
    assert result.ledger.problems == [], result.name
    assert result.trials >= trials
    assert result.faults
    assert result.ledger.deliveries
