"""A new agent is one file and one row: a toy is routed to, asked, and offered to clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon import Team
from antiphon.orchestrator.errors import UnknownAgent
from antiphon.orchestrator.events import Interaction, RunComplete
from antiphon.orchestrator.team.agents import TEAM, maintenance, specs, troubleshooting
from antiphon.orchestrator.team.offline import OfflineModel
from tests.orchestrator.support import Knowledge, begin, events_of, of_type, opened
from tests.orchestrator.team import accessories

PAGE = (Path(__file__).parents[3] / "docs/adding.md").read_text(encoding="utf-8")
ROW = """\
TEAM = Team(agents=(specs.AGENT, maintenance.AGENT, troubleshooting.AGENT, accessories.AGENT))
"""
WITH_TOY = Team(agents=(*TEAM.agents, accessories.AGENT))
HANDBOOK = Knowledge(roof="The roof rack may carry 75 kg.", oil="Change the engine oil every year.")
CARRY = "How much weight may the roof rack carry?"


async def asked(url: str, message: str, **request: Any) -> tuple[RunComplete, set[tuple[str, str]]]:
    """Ask the team with the toy. Returns the end of the run, and who turned to whom."""
    model = OfflineModel(seconds_per_word=0)
    async with opened(url, team=WITH_TOY, model=model, retriever=HANDBOOK) as engine:
        events = await events_of(await begin(engine, message, **request))
    end = events[-1]
    assert isinstance(end, RunComplete)
    return end, {(turn.source, turn.target) for turn in of_type(events, Interaction)}


def test_the_page_shows_the_file_and_the_row_that_are_tested_here() -> None:
    file = Path(accessories.__file__).read_text(encoding="utf-8")
    assert f"```python\n{file}```" in PAGE
    assert f"```python\n{ROW}```" in PAGE
    names: dict[str, Any] = {"Team": Team, "specs": specs, "maintenance": maintenance}
    exec(ROW, names | {"troubleshooting": troubleshooting, "accessories": accessories}, names)
    assert names["TEAM"] == WITH_TOY


async def test_its_questions_are_routed_to_it(url: str) -> None:
    end, turns = await asked(url, CARRY)
    assert (end.primary_agent, end.text) == (
        "accessories",
        "The roof rack may carry 75 kg. [roof.md]",
    )
    assert ("classifier", "accessories") in turns


async def test_it_answers_beside_others(url: str) -> None:
    end, turns = await asked(url, f"{CARRY} How often must the engine oil be changed?")
    assert "75 kg" in end.text
    assert "every year" in end.text
    assert ("maintenance", "accessories") in turns or ("accessories", "maintenance") in turns


async def test_a_request_may_choose_it(url: str) -> None:
    end, _ = await asked(url, "Tell me about the oil.", primary="accessories")
    assert end.primary_agent == "accessories"


def test_errors_name_it() -> None:
    with pytest.raises(UnknownAgent, match=r"this team has .*, accessories"):
        WITH_TOY["nobody"]
