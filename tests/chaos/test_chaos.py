"""Each scenario of the chaos suite at quick size: nothing lost, nothing twice, nothing changed, one terminal event."""

from __future__ import annotations

import pytest

from tests.chaos.scenarios import perform

QUICK = {
    "kill_any": 3,
    "kill_on_ack": 10,
    "zombies": 5,
    "cuts": 20,
    "sigterm": 5,
    "cancels": 10,
    "model_faults": 1,
}


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", QUICK)
async def test_that_nothing_is_lost(name: str) -> None:
    result = await perform(name, QUICK[name], seed=1)
    assert result.trials >= QUICK[name]
    assert result.faults
    assert result.ledger.deliveries
    assert result.ledger.problems == []
