"""A new kind of node is one file and one row: a toy is checked, compiled and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from antiphon.orchestrator.events import AgentStart
from antiphon.orchestrator.flows.definition import Exits
from antiphon.orchestrator.flows.kinds import KINDS
from tests.orchestrator.flows import shout
from tests.orchestrator.flows.support import (
    answered,
    codes_and_paths,
    end_of,
    flow,
    node,
    says,
    speaking,
)
from tests.orchestrator.support import FAILS, of_type, served_team, spoken

PAGE = Path(__file__).parents[3] / "docs/adding.md"


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the row that the page shows."""
    monkeypatch.setitem(KINDS, "shout", shout.KIND)


def test_the_page_shows_the_code_that_is_tested_here() -> None:
    page = PAGE.read_text(encoding="utf-8")
    code = Path(shout.__file__).read_text(encoding="utf-8")
    assert f"```python\n{code}```" in page
    assert '"shout": shout.KIND,' in page


WRONG = [
    (node("shout", marks=4), "BAD_CONFIG", "marks"),
    (node("shout", marks="!"), "BAD_CONFIG", "marks"),
    (node("shout", text="{{ nothing }}"), "BAD_EXPRESSION", "text"),
]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(("raw", "code", "setting"), WRONG)
def test_its_settings_are_checked(raw: Any, code: str, setting: str) -> None:
    assert codes_and_paths(flow(a=raw)) == [(code, f"/nodes/1/config/{setting}")]


@pytest.mark.usefixtures("toy")
async def test_it_answers(url: str) -> None:
    async with served_team(url, FAILS) as (_, engine):
        events = await answered(engine, flow(a=node("shout", text="{{ message }} there", marks=2)))
    assert (end_of(events).text, end_of(events).primary_agent) == ("HELLO THERE!!", "a")
    assert [event.role for event in of_type(events, AgentStart) if event.agent == "a"] == [
        "element"
    ]


@pytest.mark.usefixtures("toy")
async def test_its_output_is_read_by_later_nodes(url: str) -> None:
    raw = flow("i>s>a>o", s=node("shout"), a=says("a", question='{{ outputs["s"] }}'))
    async with served_team(url, speaking(a="Quiet, please.")) as (server, engine):
        events = await answered(engine, raw)
    assert end_of(events).text == "Quiet, please."
    assert list(spoken(events, "draft").values()) == ["HELLO!"]
    assert server.requests[0].last_user == "HELLO!"


@pytest.mark.usefixtures("toy")
async def test_it_has_conditions_on_its_edges_and_stands_in_branches(url: str) -> None:
    raw = flow(
        "i>p>s>k>x p>x s>x",
        {"s>k": 'message == "Hello"'},
        p=node("parallel"),
        s=node("shout"),
        k=node("template", template='{{ outputs["s"] }} {{ outputs["s"] }}'),
        x=node("output", text='{{ outputs["k"] }}'),
    )
    async with served_team(url, FAILS) as (_, engine):
        assert end_of(await answered(engine, raw)).text == "HELLO! HELLO!"


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_templates_are_settings_and_whatever_waits_for_a_message_pauses(kind: Any) -> None:
    assert set(kind.templates) <= set(kind.config.__struct_fields__)
    assert kind.pauses or kind.exits is not Exits.NEXT_TURN
    assert (kind.exits is not Exits.NONE) or "text" in kind.config.__struct_fields__
