"""Users' files are members of their projects, whatever else is called alike."""

from __future__ import annotations

import dataclasses
import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

import antiphon
import antiphon.data.records
from antiphon.orchestrator.graphs.imports import import_from, member_of, register
from tests.orchestrator.projects import write
from tests.support.server import ROOT


def module(folder: Path, name: str, label: str, *others: Path) -> Any:
    """A module of a folder that is a project by itself."""
    return import_from(register(folder, others, label), name)


def two(folder: Path, files: dict[str, str]) -> tuple[Path, Path]:
    """Two projects of the same files, in each of which `NAME` is its own name."""
    for name in ("a", "b"):
        write(
            folder / name, {path: text.replace("NAME", repr(name)) for path, text in files.items()}
        )
    return folder / "a", folder / "b"


LATE = """
def late():
    import utils
    from utils import word
    import utils as again
    assert utils is again and word is utils.word
    return word()
"""


# -- names --------------------------------------------------------------------------------------


def test_a_file_is_a_member_of_its_package(project: Path) -> None:
    write(
        project,
        {
            "src/bot/__init__.py": "",
            "src/bot/inner/__init__.py": "",
            "src/bot/inner/graph.py": "",
            "x.py": "",
        },
    )
    assert member_of(project / "x.py") == (project, "x")
    assert member_of(project / "src/bot/inner/graph.py") == (project / "src", "bot.inner.graph")
    assert member_of(project / "src/bot/__init__.py") == (project / "src", "bot")


def test_a_name_that_nobody_else_has_stays_plain(project: Path) -> None:
    write(project, {"lonely_graph.py": "import lonely_utils", "lonely_utils.py": "x = 1"})
    found = module(project, "lonely_graph", "g")
    assert (found.__name__, found.lonely_utils.__name__) == ("lonely_graph", "lonely_utils")
    assert importlib.import_module("lonely_utils") is found.lonely_utils
    assert sys.path[-1] == str(project)


def test_modules_of_two_projects_with_one_name_are_never_mixed(project: Path) -> None:
    a, b = two(project, {"graph.py": LATE, "utils.py": "def word():\n    return NAME\n"})
    roots = [register(folder, (), folder.name) for folder in (a, b)]
    first, second = (import_from(root, "graph") for root in roots)
    assert (first.__name__, second.__name__) == ("graph__a", "graph__b")
    assert [first.late(), second.late(), first.late()] == ["a", "b", "a"]
    assert (sys.modules["utils__a"].word(), sys.modules["utils__b"].word()) == ("a", "b")


def test_names_do_not_depend_on_the_order_of_graphs(project: Path) -> None:
    a, b = two(project, {"graph.py": LATE, "utils.py": "def word():\n    return NAME\n"})
    roots = [register(folder, (), folder.name) for folder in (b, a)]
    assert [import_from(root, "graph").__name__ for root in roots] == ["graph__b", "graph__a"]


def test_what_is_imported_already_keeps_its_name(project: Path) -> None:
    """A second engine in one process, with a project that has a name of the first one's."""
    a, b = two(project, {"graph.py": LATE, "utils.py": "def word():\n    return NAME\n"})
    first = module(a, "graph", "a")
    second = module(b, "graph", "b")
    assert (first.__name__, second.__name__) == ("graph", "graph__b")
    assert [first.late(), second.late(), first.late()] == ["a", "b", "a"]
    assert module(a, "graph", "a") is first


def test_packages_of_two_projects_with_one_name_are_never_mixed(project: Path) -> None:
    files = {
        "agent/__init__.py": "from agent.graph import word",
        "agent/graph.py": (
            "from . import parts\n"
            "from .parts.inner import word\n"
            "import agent.parts.inner as again\n"
        ),
        "agent/parts/__init__.py": "",
        "agent/parts/inner.py": "def word():\n    from agent.parts import own\n    return own.it\n",
        "agent/parts/own.py": "it = NAME",
    }
    a, b = two(project, files)
    roots = [register(folder, (), folder.name) for folder in (a, b)]
    first, second = (import_from(root, "agent.graph") for root in roots)
    assert (first.word(), second.word(), first.again.word()) == ("a", "b", "a")
    assert (first.__name__, first.__package__) == ("agent__a.graph", "agent__a")
    assert first.parts is sys.modules["agent__a.parts"]


@pytest.mark.parametrize("own", ["data.py", "data/__init__.py", "data/loaders.py"])
def test_names_of_our_own_folders_are_free(
    project: Path, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a checkout, whose folders of these names lie on `sys.path`."""
    others = [one for one in sys.path if Path(one, "orchestrator").is_dir() and Path(one) != ROOT]
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one not in others])
    inside = "from data import loaders as data" if own.endswith("loaders.py") else "import data"
    write(
        project,
        {
            "graph.py": f"{inside}\nwhose = data.WHOSE\n",
            own: "WHOSE = 'mine'",
            "api.py": "",
            "rag.py": "",
        },
    )
    assert module(project, "graph", "g").whose == "mine"


def test_a_graph_may_be_called_as_we_are(project: Path) -> None:
    write(
        project,
        {
            "antiphon.py": "import orchestrator\nwhose = orchestrator.whose",
            "orchestrator.py": "whose = 'mine'",
        },
    )
    found = module(project, "antiphon", "g")
    assert (found.whose, found.__name__) == ("mine", "antiphon__g")
    assert importlib.import_module("antiphon") is antiphon


def test_what_a_project_does_not_have_is_found_where_others_find_it(project: Path) -> None:
    write(
        project,
        {"graph.py": "import antiphon.data\nimport json\nimport langgraph.graph\n", "api.py": ""},
    )
    found = module(project, "graph", "g")
    assert (found.antiphon, found.json) == (antiphon, json)


def test_the_standard_library_keeps_its_names(project: Path) -> None:
    write(
        project,
        {
            "json.py": "def dumps(x): raise OSError",
            "graph.py": "import json\nimport api\n",
            "api.py": "",
        },
    )
    assert module(project, "graph", "g").json is json
    assert module(project, "json", "g").__name__ == "json__g"


def test_an_own_module_comes_before_an_installed_one_for_its_project_only(project: Path) -> None:
    import click

    write(
        project,
        {"click.py": "whose = 'mine'", "graph.py": "import click\nfrom click import whose\n"},
    )
    assert module(project, "graph", "g").whose == "mine"
    assert importlib.import_module("click") is click


def test_a_mere_folder_comes_after_an_installed_package(project: Path) -> None:
    """As Python has it: a folder called `langgraph` that holds the graph does not hide
    LangGraph.
    """
    write(
        project,
        {
            "langgraph/agent.py": "",
            "graph.py": "from langgraph.graph import START\nimport api\n",
            "api.py": "",
        },
    )
    assert module(project, "graph", "g").START == "__start__"


def test_neighbours_come_before_the_folders_that_a_project_declares(project: Path) -> None:
    write(
        project,
        {
            "a/graph.py": "import helper, shared",
            "a/helper.py": "x = 'near'",
            "helper.py": "x = 'far'",
        },
    )
    write(project, {"shared/__init__.py": "import helper"})
    found = module(project / "a", "graph", "a", project)
    assert (found.helper.x, found.shared.helper.x) == ("near", "far")


def test_a_package_around_which_nothing_counts(project: Path) -> None:
    """A `__init__.py` in the project's own folder makes it a package; its neighbours are other
    projects.
    """
    write(
        project,
        {
            "mine/__init__.py": "",
            "mine/graph.py": "from . import parts",
            "mine/parts.py": "",
            "other.py": "",
        },
    )
    root = register(project, [project / "mine"], "g", "mine")
    assert import_from(root, "mine.graph").parts.__name__ == "mine.parts"
    assert set(root.offers) == {"mine"}
    with pytest.raises(ModuleNotFoundError):
        import_from(root, "other")


def test_a_file_is_executed_once(project: Path) -> None:
    write(
        project,
        {"counted.py": "with open('count', 'a') as f:\n    f.write('x')\n"},
    )
    write(
        project,
        {
            "one.py": "import counted",
            "two.py": "import counted\nimport one\n",
            "data.py": "import counted",
        },
    )
    for name in ("one", "two", "counted", "data"):
        module(project, name, name)
    assert Path("count").read_text() == "x"


def test_what_is_imported_already_is_not_executed_again(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a notebook, which imports its own modules before it serves their graphs."""
    a, b = two(project, {"mine_utils.py": "whose = NAME", "mine_graph.py": "import mine_utils"})
    monkeypatch.syspath_prepend(a)
    earlier = importlib.import_module("mine_utils")
    try:
        roots = [register(folder, (), folder.name) for folder in (b, a)]
        second, first = (import_from(root, "mine_graph") for root in roots)
        assert first.mine_utils is earlier
        assert (earlier.whose, second.mine_utils.whose) == ("a", "b")
    finally:
        del sys.modules["mine_utils"]


AT_HOME = """
import sys
from pathlib import Path
import antiphon.data.records
from antiphon.orchestrator.graphs.imports import import_from, register
home = register(Path(sys.argv[1]).resolve(), (), "ours")
here = register(Path(sys.argv[2]).resolve(), (), "g")
assert import_from(here, "graph").data.whose == "mine"
assert import_from(home, "antiphon") is antiphon
import antiphon.api.problems
renamed = [name for name in sys.modules if "__" in name]
assert not [name for name in renamed if name.startswith(("antiphon", "data__ours", "api"))]
"""


def test_we_are_imported_once_if_our_own_folder_is_a_project(project: Path) -> None:
    write(
        project, {"data.py": "whose = 'mine'", "graph.py": "import data", "tests/__init__.py": ""}
    )
    command = [sys.executable, "-c", AT_HOME, str(ROOT), str(project)]
    subprocess.run(command, check=True, cwd=project.parent, env={"PYTHONPATH": str(ROOT)})


# -- what needs a module's name -----------------------------------------------------------------

TYPES = """
from __future__ import annotations
import dataclasses, enum, pydantic, typing

@dataclasses.dataclass
class Thing:
    name: str
    parent: Thing | None = None

class Model(pydantic.BaseModel):
    inner: Thing | None = None
    other: Model | None = None

class Colour(enum.Enum):
    RED = "red"

class State(typing.TypedDict):
    thing: Thing
"""


def test_types_of_a_module_with_a_name_of_its_own_work_everywhere(project: Path) -> None:
    write(project, {"data.py": TYPES})
    found = module(project, "data", "g")
    thing = found.Thing("x", found.Thing("y"))
    assert get_type_hints(found.State) == {"thing": found.Thing}
    assert found.Model.model_validate({"inner": {"name": "x"}, "other": {}}).inner == found.Thing(
        "x"
    )
    serde = JsonPlusSerializer()
    for value in (thing, found.Colour.RED, found.Model(other=found.Model())):
        assert serde.loads_typed(serde.dumps_typed(value)) == value
    assert dataclasses.asdict(thing) == {"name": "x", "parent": {"name": "y", "parent": None}}


AGAIN = """
import sys
from pathlib import Path
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from antiphon.orchestrator.graphs.imports import import_from, register
roots = [register(Path(name).resolve(), (), name) for name in ("b", "a")]
for root in roots:
    import_from(root, "graph")
print(repr(JsonPlusSerializer().loads_typed(("msgpack", Path("stored").read_bytes()))))
"""


def test_what_was_stored_is_read_again_after_a_restart(project: Path) -> None:
    """Also if the class stands in a module that is imported late, and the graphs come in another
    order.
    """
    a, b = two(
        project,
        {
            "graph.py": "def late():\n    import data\n    return data.Thing(NAME)\n",
            "data.py": TYPES,
        },
    )
    roots = [register(folder, (), folder.name) for folder in (a, b)]
    things = [import_from(root, "graph").late() for root in roots]
    assert [type(thing).__module__ for thing in things] == ["data__a", "data__b"]
    Path("stored").write_bytes(JsonPlusSerializer().dumps_typed(things[1])[1])
    again = subprocess.run(
        [sys.executable, "-c", AGAIN],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert again.stdout.strip() == "Thing(name='b', parent=None)"


def test_names_of_before_lead_to_the_modules_of_now(project: Path) -> None:
    """A project alone has its plain names, and with another one it has not: states of both times
    are read.
    """
    a, b = two(project, {"pack/__init__.py": "", "pack/types.py": TYPES, "utils.py": TYPES})
    roots = [register(folder, (), folder.name) for folder in (a, b)]
    first, second = (import_from(root, "pack.types") for root in roots)
    assert first.__name__ == "pack__a.types"
    assert importlib.import_module("pack.types") is first
    assert importlib.import_module("utils") is import_from(roots[0], "utils")
    assert first.__spec__ is not None
    assert first.__spec__.name == "pack__a.types"
    serde = JsonPlusSerializer()
    alone = msgpack_of("pack.types", "Thing", {"name": "x", "parent": None})
    assert serde.loads_typed(("msgpack", alone)) == first.Thing("x")
    assert second.Thing is not first.Thing


def test_a_name_of_two_projects_leads_to_the_one_that_is_left(project: Path) -> None:
    write(project, {"pack/__init__.py": "", "pack/types.py": TYPES})
    only = module(project, "pack.types", "a")
    assert only.__name__ == "pack.types"
    assert importlib.import_module("pack__a.types") is only
    for name in ("pack__b.types", "json__a", "a__a"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(name)


def msgpack_of(module_name: str, name: str, values: dict[str, Any]) -> bytes:
    """What LangGraph's serializer makes of an instance of a dataclass."""
    fields = [(field, Any) for field in values]
    made = dataclasses.make_dataclass(name, fields)
    made.__module__ = module_name
    return JsonPlusSerializer().dumps_typed(made(**values))[1]
