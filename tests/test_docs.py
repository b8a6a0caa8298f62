"""The reference is complete: what the code knows stands in it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import click
import msgspec
import pytest
from litestar.routes import HTTPRoute, WebSocketRoute

from antiphon.api.app import create_app
from antiphon.api.cli import main
from antiphon.api.dialects import DIALECTS
from antiphon.api.settings import Settings
from antiphon.data import BACKENDS
from antiphon.orchestrator.errors import CODES
from antiphon.orchestrator.events import EVENT_TYPES
from antiphon.orchestrator.flows.check import NAMES, check
from antiphon.orchestrator.flows.kinds import KINDS
from antiphon.orchestrator.flows.kinds.tool import ARGUMENTS
from antiphon.orchestrator.flows.language.expressions import FUNCTIONS
from antiphon.orchestrator.flows.language.text import from_text
from antiphon.orchestrator.flows.reading import read_flow
from antiphon.orchestrator.team.agents import TEAM
from tests.frames_page import page

ROOT = Path(__file__).parents[1]
REFERENCE = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
FLOWS = (ROOT / "docs/flows.md").read_text(encoding="utf-8")
ALIASES = [alias for kind in KINDS.values() for alias in kind.aliases]
ARCHITECTURE = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
ADDING = (ROOT / "docs/adding.md").read_text(encoding="utf-8")
ADDITIONS = re.findall(r"^\| \[(.+?)\]\(#.*\| `(tests/.+?)` \|$", ADDING, re.MULTILINE)
WALK = re.findall(r"^\d+\. `([\w/]+)\.py` `([\w.]+)`", ARCHITECTURE, re.MULTILINE)
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
ROOMS = "api|benchmarks|data|docs|orchestrator|rag|tests"
BLOCKS = [part.partition("```")[0] for part in FLOWS.split("```yaml\n")[1:]]


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_error_code_stands_in_the_reference(code: str) -> None:
    assert f"`{code}`" in REFERENCE


@pytest.mark.parametrize("event", EVENT_TYPES, ids=lambda event: event.__struct_config__.tag)
def test_every_event_stands_in_the_reference_with_its_fields(event: type[msgspec.Struct]) -> None:
    events = REFERENCE.partition("\n## Events\n")[2].partition("\n## ")[0]
    cell = rf"\|.*`{event.__struct_config__.tag}`.* \| (.*) \|$"
    [fields] = re.findall(f"^{cell}", events, re.MULTILINE)
    names = [field.name for field in msgspec.structs.fields(event)]
    assert [name for name in names if not re.search(rf"\b{name}\b", fields)] == []


@pytest.mark.parametrize(
    "row", re.findall(r"^\| (`[A-Z_`, ]+`) \| (\d+) \|", REFERENCE, re.MULTILINE)
)
def test_the_reference_has_the_http_status_of_a_code(row: tuple[str, str]) -> None:
    codes, status = row
    assert {CODES[code].status for code in re.findall("[A-Z_]+", codes)} == {int(status)}


@pytest.mark.parametrize("setting", [field.name for field in msgspec.structs.fields(Settings)])
def test_every_setting_stands_in_the_reference(setting: str) -> None:
    assert f"`ANTIPHON_{setting.upper()}`" in REFERENCE or f"`{setting.upper()}`" in REFERENCE


def test_every_command_and_option_stands_in_the_reference() -> None:
    for name, command in _commands(main, ""):
        assert f"`antiphon {name}" in REFERENCE
        for option in command.params:
            if isinstance(option, click.Option):
                assert option.opts[0] in REFERENCE, (name, option.opts)


def _commands(group: click.Group, before: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from _commands(command, f"{before}{name} ")
        else:
            yield before + name, command


def test_every_frame_of_the_flow_vocabulary_stands_in_the_reference() -> None:
    for frame in DIALECTS["flows"].frames:
        assert f"| `{frame.__struct_config__.tag}` |" in REFERENCE


@pytest.mark.parametrize("kind", KINDS)
def test_every_type_of_node_stands_in_the_page_about_flows_with_its_settings_and_an_example(
    kind: str,
) -> None:
    (row,) = [line for line in FLOWS.splitlines() if line.startswith(f"| `{kind}` |")]
    for setting in msgspec.structs.fields(KINDS[kind].config):
        assert f"`{setting.name}`" in row
    assert f"type: {kind}" in FLOWS


@pytest.mark.parametrize("name", sorted([*FUNCTIONS, *NAMES, *ALIASES, *ARGUMENTS]))
def test_every_word_of_expressions_stands_in_the_page_about_flows(name: str) -> None:
    assert f"`{name}(" in FLOWS if name in FUNCTIONS else f"`{name}`" in FLOWS


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_examples_of_the_page_about_flows_can_be_executed(block: str) -> None:
    found = from_text(block)
    if isinstance(found, list):
        assert read_flow({"nodes": found, "edges": []}, KINDS)[1] == []
    else:
        check(found, KINDS, TEAM.names)


def test_every_route_stands_in_the_reference() -> None:
    for route in create_app(Settings()).routes:
        path = route.path.replace(":str}", "}")
        if (
            path.startswith("/schema/") and path != "/schema/asyncapi.json"
        ):  # files of the documentation's page
            continue
        if isinstance(route, HTTPRoute):
            for method in set(route.methods) - {"OPTIONS", "HEAD"}:
                assert f"`{method} {path}`" in REFERENCE
        elif isinstance(route, WebSocketRoute):
            assert f"`WS {path}`" in REFERENCE


def test_every_room_stands_in_the_page_about_architecture() -> None:
    rooms = [
        path.parent.relative_to(ROOT)
        for top in ("api", "orchestrator", "data")
        for path in [ROOT / top / "__init__.py", *ROOT.glob(f"{top}/*/__init__.py")]
    ]
    assert len(rooms) > 3
    assert [str(room) for room in rooms if f"| `{room}/` |" not in ARCHITECTURE] == []


def test_the_walk_of_a_message_has_at_most_ten_functions() -> None:
    assert 5 < len(WALK) <= 10


@pytest.mark.parametrize(("file", "function"), WALK)
def test_a_function_of_the_walk_is_in_its_file(file: str, function: str) -> None:
    module = import_module(f"antiphon.{file.replace('/', '.')}")
    found = attrgetter(function)(module)
    assert callable(found)
    assert (found.__module__, found.__qualname__) == (module.__name__, function)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_and_folders_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    paths = re.findall(rf"`((?:{ROOMS})/[\w./-]*)`", text)
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_files_that_the_page_about_architecture_names_without_a_folder_exist() -> None:
    names = re.findall(r"`(\w+\.py)`", ARCHITECTURE)
    files = {path.name for top in ROOMS.split("|") for path in (ROOT / top).rglob("*.py")}
    assert [name for name in names if name not in files | {"antiphon.py"}] == []


def test_the_page_of_frames_is_what_the_registry_says() -> None:
    """`UPDATE_GOLDEN=1 pytest …` writes it anew."""
    path = ROOT / "docs/frames.md"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(page(), encoding="utf-8")
    assert path.read_text(encoding="utf-8") == page()


def test_the_vocabulary_that_the_page_shows_is_the_one_that_is_tested() -> None:
    toy = (ROOT / "tests/api/dialects/toy.py").read_text(encoding="utf-8")
    assert f"```python\n{toy}```" in ADDING


def test_the_page_about_adding_has_a_section_for_each_row_of_its_table_in_that_order() -> None:
    sections = re.findall(r"^## (.+)$", ADDING, re.MULTILINE)
    assert [row.capitalize() for row, _ in ADDITIONS] == sections
    assert len(sections) == 6


@pytest.mark.parametrize(("row", "test"), ADDITIONS)
def test_what_the_page_about_adding_shows_is_compared_by_a_test(row: str, test: str) -> None:
    section = ADDING.partition(f"\n## {row.capitalize()}\n")[2].partition("\n## ")[0]
    assert section.count("```python\n") >= 2  # the file, and the row
    assert "docs/adding.md" in (ROOT / test).read_text(encoding="utf-8")


def test_the_row_of_the_backend_that_the_page_shows_is_in_its_table() -> None:
    assert f'"memory": "{BACKENDS["memory"]}",' in ADDING


@pytest.mark.parametrize(
    "page", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda p: p.name
)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for part in text.split("](")[1:]:
        target = part.partition(")")[0].partition("#")[0]
        if target and not target.startswith("http"):
            assert (page.parent / target).exists(), target
