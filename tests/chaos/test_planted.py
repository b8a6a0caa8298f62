"""Bugs that are planted into the running server on purpose: the suite finds each, and calls it by
its name."""

from __future__ import annotations

import asyncio

import pytest

from tests.chaos.planted import PLANTS
from tests.chaos.scenarios import perform

FOUND = {
    "lost": [
        ("gap", "cuts", 1),
        ("skipping", "cuts", 3),
        ("skipped_number", "cuts", 1),
        ("acknowledged_early", "kill_on_ack", 3),
        ("unsaved", "cancels", 4),
        ("forgetful", "states", 2),
    ],
    "duplicated": [("duplicate", "cuts", 1), ("twice", "cuts", 3)],
    "changed": [
        ("changed", "cuts", 1),
        ("no_fence", "zombies", 1),
        ("delivered_early", "kill_any", 2),
    ],
    "terminals": [("two_ends", "cuts", 1), ("cancelled_again", "cancels", 1)],
    "rerun": [("rerun", "kill_any", 2), ("hasty", "takeover", 1)],
    "other": [
        ("mixed", "kill_any", 2),
        ("charged", "sigterm", 1),
        ("boundless", "stuck_readers", 1),
    ],
}
"""By kind of the problem: the bugs, and how they are found."""
CHANCES = (1, 2, 3)
"""So few trials may pass a bug by, where a fault has to hit a moment: then it is tried again."""


@pytest.mark.timeout(600)
async def test_that_planted_bugs_are_found() -> None:
    assert {plant for bugs in FOUND.values() for plant, *_ in bugs} == set(PLANTS)
    trying = asyncio.Semaphore(4)

    async def attempt(kind: str, plant: str, scenario: str, trials: int) -> str | None:
        found = []
        for seed in CHANCES:
            async with trying:
                result = await perform(scenario, trials, seed, plant, patience=10)
            if result.ledger.counts[kind]:
                return None
            found.append(result.ledger.problems)
        return f"{plant} in {scenario}: {found}"

    tries = [attempt(kind, *bug) for kind, bugs in FOUND.items() for bug in bugs]
    missed = await asyncio.gather(*tries)
    assert [what for what in missed if what] == []
