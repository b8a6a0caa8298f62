"""The reference is complete: what the code knows stands in it."""

from __future__ import annotations

import os
from pathlib import Path

import click
import msgspec
import pytest
from litestar.routes import HTTPRoute, WebSocketRoute

from api.app import create_app
from api.cli import main
from api.problems import CODES
from api.settings import Settings
from orchestrator.errors import _BY_NAME, _UNKNOWN
from orchestrator.events import EVENT_TYPES
from tests.frames_page import page

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs/reference.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", sorted({*CODES, *(failure.code for failure in _BY_NAME.values()), _UNKNOWN.code}))
def test_every_error_code_stands_in_the_reference(code: str) -> None:
    assert f"`{code}`" in REFERENCE


@pytest.mark.parametrize("event", [event.__struct_config__.tag for event in EVENT_TYPES])
def test_every_event_stands_in_the_reference(event: str) -> None:
    assert f"`{event}`" in REFERENCE


@pytest.mark.parametrize("setting", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_stands_in_the_reference(setting: str) -> None:
    assert f"`ANTIPHON_{setting.upper()}`" in REFERENCE or f"`{setting.upper()}`" in REFERENCE


def test_every_command_and_option_stands_in_the_reference() -> None:
    for name, command in main.commands.items():
        assert f"`antiphon {name}" in REFERENCE
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in REFERENCE, (name, option.opts)


def test_every_route_stands_in_the_reference() -> None:
    for route in create_app(Settings()).routes:
        path = route.path.replace(":str}", "}")
        if path.startswith("/schema/") and path != "/schema/asyncapi.json":  # files of the documentation's page
            continue
        if isinstance(route, HTTPRoute):
            for method in set(route.methods) - {"OPTIONS", "HEAD"}:
                assert f"`{method} {path}`" in REFERENCE
        elif isinstance(route, WebSocketRoute):
            assert f"`WS {path}`" in REFERENCE


def test_the_page_of_frames_is_what_the_registry_says() -> None:
    """`UPDATE_GOLDEN=1 pytest …` writes it anew."""
    path = ROOT / "docs/frames.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page()


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for part in text.split("](")[1:]:
        target = part.partition(")")[0].partition("#")[0]
        if target and not target.startswith("http"):
            assert (page.parent / target).exists(), target
