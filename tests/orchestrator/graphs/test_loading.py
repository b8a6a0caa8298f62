"""From what a user names to served graphs: by path, by module, by `langgraph.json`, as objects."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.graph import START, StateGraph

from antiphon.orchestrator.graphs.loading import GraphError, load_graphs
from antiphon.orchestrator.graphs.served import serve_graph
from tests.orchestrator.projects import SAYING, write
from tests.orchestrator.support import chain, opened, saying

GRAPH = SAYING + "graph = saying(WORDS).compile()\n"


def listing(folder: Path, graphs: Any, **more: Any) -> str:
    """A `langgraph.json` in a folder."""
    path = folder / "langgraph.json"
    path.write_text(json.dumps({"graphs": graphs} | more))
    return str(path)


async def told(url: str, *graphs: Any) -> dict[str, str]:
    """What each of some graphs answers."""
    async with opened(url, *graphs) as engine:
        names = [name for name in engine.graphs if name != "team"]
        return {name: await (await engine.start("hello", graph=name)).text() for name in names}


def refused(*graphs: Any) -> str:
    """The one line that says why graphs are not loaded."""
    with pytest.raises((ValueError, TypeError, FileNotFoundError)) as error:
        load_graphs(graphs)
    line = str(error.value)
    assert "\n" not in line
    return line


# -- by path and by module ----------------------------------------------------------------------

SOURCE = """
import helper
builder = saying(helper.WORD)
graph = builder.compile()
def factory():
    return builder
number = 7
"""


@pytest.mark.parametrize("name", ["graph", "builder", "factory"])
@pytest.mark.parametrize(
    "place", ["mine.py", "./mine.py", "{here}/mine.py", "../project/mine.py", "mine"]
)
async def test_a_graph_is_loaded_by_path_or_module_and_name(
    url: str, project: Path, place: str, name: str
) -> None:
    write(project, {"mine.py": SAYING + SOURCE, "helper.py": 'WORD = "from a file"'})
    spec = f"{place.format(here=project)}:{name}"
    assert await told(url, spec) == {name: "from a file"}


@pytest.mark.parametrize("place", ["src/bot/graph.py", "bot.graph", "src.bot.graph"])
async def test_a_package_is_loaded_as_one(url: str, project: Path, place: str) -> None:
    files = {
        "src/bot/__init__.py": "from .graph import graph" if place != "src.bot.graph" else "",
        "src/bot/graph.py": SAYING
        + "from . import words\nfrom .words import WORD\ngraph = saying(words.WORD).compile()",
        "src/bot/words.py": "WORD = __name__",
    }
    write(project, files)
    name = "src.bot.words" if place == "src.bot.graph" else "bot.words"
    assert await told(url, f"{place}:graph") == {"graph": name}


async def test_an_installed_module_is_loaded(
    url: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        project.parent / "elsewhere", {"installed_graphs.py": GRAPH.replace("WORDS", "'installed'")}
    )
    monkeypatch.syspath_prepend(project.parent / "elsewhere")
    assert await told(url, "installed_graphs:graph") == {"graph": "installed"}
    assert "installed_graphs" in sys.modules
    del sys.modules["installed_graphs"]


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ("mine.py", "'mine.py' is not of the form path.py:name or package.module:name"),
        (":graph", "':graph' is not of the form path.py:name or package.module:name"),
        ("mine.py:", "'mine.py:' is not of the form path.py:name or package.module:name"),
        ("missing.py:graph", "graph 'graph': there is no file missing.py"),
        ("mine.ts:graph", "graph 'graph': mine.ts is not a Python module"),
        ("mine.py:absent", "graph 'absent' (mine.py:absent): mine.py has no 'absent'"),
        (
            "mine.py:number",
            "graph 'number' (mine.py:number): number is a int, not a LangGraph graph",
        ),
        (
            "mine.py:needy",
            "graph 'needy' (mine.py:needy): needy takes 'model';"
            " a factory takes a config or a runtime",
        ),
        ("mine.py:unconnected", "graph 'unconnected' (mine.py:unconnected): "),
        (
            "no.such:graph",
            "graph 'graph' (no.such:graph) cannot be loaded:"
            " ModuleNotFoundError: No module named 'no'",
        ),
    ],
)
def test_what_leads_nowhere_is_refused_in_one_line(project: Path, spec: str, line: str) -> None:
    unconnected = (
        "from langgraph.graph import MessagesState, StateGraph\n"
        "unconnected = StateGraph(MessagesState)\n"
    )
    write(
        project,
        {"mine.py": f"{unconnected}number = 7\ndef needy(model: str): ...\n", "mine.ts": ""},
    )
    assert refused(spec).startswith(line)


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"mine.py": "x = 1\nx / 0\n"}, "mine.py, line 2: ZeroDivisionError: division by zero"),
        (
            {"mine.py": "def f(:\n"},
            "mine.py, line 1: SyntaxError: invalid syntax (mine.py, line 1)",
        ),
        ({"mine.py": "import sys\nsys.exit(3)\n"}, "mine.py, line 2: SystemExit: 3"),
        (
            {"mine.py": "import argparse\nargparse.ArgumentParser().parse_args(['--x'])\n"},
            "mine.py, line 2: SystemExit: 2",
        ),
        (
            {"mine.py": "import json\njson.loads('{')\n"},
            "mine.py, line 2: JSONDecodeError: Expecting property name",
        ),
        (
            {"mine.py": "\nimport nowhere.at.all\n"},
            "mine.py, line 2: ModuleNotFoundError: No module named 'nowhere'",
        ),
        (
            {"mine.py": "import parts", "parts.py": "\n\nraise OSError('a\\nb')"},
            "parts.py, line 3: OSError: a b",
        ),
        (
            {"mine.py": "import parts", "parts.py": "(\n"},
            "parts.py, line 1: SyntaxError: '(' was never closed",
        ),
        ({"mine.py": "raise ValueError"}, "mine.py, line 1: ValueError"),
        (
            {"mine.py": "def graph():\n    raise TypeError('no key')\n"},
            "mine.py, line 2: TypeError: no key",
        ),
    ],
)
def test_a_file_that_fails_is_told_with_file_line_and_reason(
    project: Path, files: dict[str, str], line: str
) -> None:
    write(project, files)
    start = "graph 'graph' (mine.py:graph) cannot be loaded: "
    assert refused("mine.py:graph").startswith(start + line)


def test_a_relative_import_that_cannot_work_is_told_where_it_stands(project: Path) -> None:
    write(project, {"mine.py": "from .parts import x", "parts.py": "x = 1"})
    assert "mine.py, line 1: ImportError: attempted relative import" in refused("mine.py:graph")


def test_one_broken_graph_stops_the_start_and_no_traceback_is_needed(project: Path) -> None:
    write(project, {"good.py": GRAPH.replace("WORDS", "'x'"), "bad.py": "1 / 0"})
    with pytest.raises(GraphError, match="graph 'bad'"):
        load_graphs([listing(project, {"good": "./good.py:graph", "bad": "./bad.py:graph"})])


# -- a langgraph.json ---------------------------------------------------------------------------


def test_a_langgraph_json_names_several_graphs_with_options(project: Path) -> None:
    write(project, {"mine.py": GRAPH.replace("WORDS", "'x'")})
    options = {
        "path": "mine.py:graph",
        "description": "Says x.",
        "on_crash": "fail",
        "state": "messages",
    }
    json_path = listing(
        project, {"b": "./mine.py:graph", "a": options}, store={"ttl": {"default_ttl": 5}}
    )
    b, a = load_graphs([json_path])
    assert (b.name, b.on_crash, b.state, b.description) == ("b", "resume", "thread", None)
    assert (a.name, a.on_crash, a.state, a.description) == ("a", "fail", "messages", "Says x.")
    assert b.store == {"ttl": {"default_ttl": 5}}
    assert [served.name for served in load_graphs([Path(json_path)])] == ["b", "a"]


async def test_paths_are_relative_to_the_json(url: str, project: Path) -> None:
    write(
        project,
        {
            "deep/app/bot.py": "import side\n" + GRAPH.replace("WORDS", "side.WORD"),
            "deep/app/side.py": "WORD = 'found'",
        },
    )
    assert await told(url, listing(project / "deep", {"bot": "./app/bot.py:graph"})) == {
        "bot": "found"
    }


async def test_dependencies_are_where_modules_are_found(url: str, project: Path) -> None:
    files = {
        "app/graph.py": "import common, lib_of_other.deep, src.tool\n"
        + GRAPH.replace("WORDS", "common.A + lib_of_other.deep.B + src.tool.C"),
        "shared/src/common.py": "A = 'a'",
        "other/lib_of_other/__init__.py": "",
        "other/lib_of_other/deep.py": "B = 'b'",
        "app/src/tool.py": "C = 'c'",
    }
    write(project, files)
    json_path = listing(
        project / "app",
        {"bot": "./graph.py:graph"},
        dependencies=["../shared", "./../other", ".", "click"],
    )
    assert await told(url, json_path) == {"bot": "abc"}


async def test_graphs_of_one_json_with_files_of_one_name_are_never_mixed(
    url: str, project: Path
) -> None:
    late = (
        SAYING
        + """
def words():
    import utils
    from shared import MARK
    return utils.word() + MARK
graph = saying(words).compile()
"""
    )
    for name in ("a", "b"):
        write(
            project,
            {f"{name}/graph.py": late, f"{name}/utils.py": f"def word():\n    return '{name}'"},
        )
    write(project, {"shared.py": "MARK = '!'"})
    json_path = listing(
        project, {"a": "./a/graph.py:graph", "b": "./b/graph.py:graph"}, dependencies=["."]
    )
    assert await told(url, json_path) == {"a": "a!", "b": "b!"}


async def test_two_projects_with_packages_of_one_name_are_never_mixed(
    url: str, project: Path
) -> None:
    paths = []
    for name in ("one", "two"):
        files = {
            f"{name}/src/agent/__init__.py": "from agent.graph import graph",
            f"{name}/src/agent/graph.py": SAYING
            + "from agent.words import word\ngraph = saying(word).compile()\n",
            f"{name}/src/agent/words.py": (
                "def word():\n    import agent.late\n    return agent.late.WORD"
            ),
            f"{name}/src/agent/late.py": f"WORD = '{name}'",
        }
        write(project, files)
        paths.append(
            listing(project / name, {name: "./src/agent/graph.py:graph"}, dependencies=["."])
        )
    assert await told(url, *paths) == {"one": "one", "two": "two"}


async def test_a_file_is_executed_once_for_all_its_graphs(url: str, project: Path) -> None:
    source = (
        SAYING
        + "with open('count', 'a') as f:\n    f.write('x')\n"
        + "a = saying('a').compile()\nb = saying('b').compile()\n"
    )
    write(project, {"both.py": source})
    json_path = listing(project, {"a": "./both.py:a", "b": "./both.py:b"})
    assert await told(url, json_path, ("c", "both.py:a")) == {"a": "a", "b": "b", "c": "a"}
    assert (project / "count").read_text() == "x"


@pytest.mark.parametrize("layout", ["json inside", "by path"])
async def test_a_project_that_is_itself_a_package(url: str, project: Path, layout: str) -> None:
    """A stray `__init__.py` beside the graph: its neighbours are found in both ways, and what is
    around it is not.
    """
    source = SAYING + "from .helper import A\nfrom side import B\ngraph = saying(A + B).compile()\n"
    write(
        project,
        {"__init__.py": "", "graph.py": source, "helper.py": "A = 'a'", "side.py": "B = 'b'"},
    )
    write(project.parent, {"langgraph_x.py": "", "typing_extensions.py": "1 / 0"})
    given = (
        listing(project, {"graph": "./graph.py:graph"})
        if layout == "json inside"
        else "graph.py:graph"
    )
    assert await told(url, given) == {"graph": "ab"}


async def test_the_environment_is_set_before_the_import(url: str, project: Path) -> None:
    source = (
        SAYING
        + "import os\ngraph = saying(os.environ['WORD'] + os.environ.get('MORE', '')).compile()\n"
    )
    write(project, {"mine.py": source, "conf/my.env": "WORD=filed\nMORE=' and more'\n"})
    assert await told(url, listing(project, {"g": "mine.py:graph"}, env={"WORD": "given"})) == {
        "g": "given"
    }
    assert os.environ["WORD"] == "given"


async def test_the_environment_may_be_a_file(url: str, project: Path) -> None:
    source = (
        SAYING + "import os\ngraph = saying(os.environ['WORD'] + os.environ['MORE']).compile()\n"
    )
    write(project, {"app/mine.py": source, "app/conf/my.env": "WORD=filed\nMORE=' and more'\n"})
    assert await told(url, listing(project / "app", {"g": "mine.py:graph"}, env="conf/my.env")) == {
        "g": "filed and more"
    }


def test_what_is_odd_in_a_langgraph_json_is_said_once(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(project, {"mine.py": GRAPH.replace("WORDS", "'x'")})
    entry = {"path": "mine.py:graph", "descripton": "x"}
    more = {
        "$schema": "https://langgra.ph/schema.json",
        "python_version": "3.11",
        "graph": 1,
        "dependancies": [],
        "auth": {"path": "./auth.py:auth"},
        "http": {},
        "env": ".env",
        "dependencies": ["./", "not-there-x>=2", "click[x]>1", "git+https://host/x"],
    }
    with caplog.at_level(logging.WARNING):
        load_graphs([listing(project, {"a": entry}, **more)])
    path = project / "langgraph.json"
    assert [record.message for record in caplog.records] == [
        f"{path}: unknown key 'graph'; is 'graphs' meant?",
        f"{path}: unknown key 'dependancies'; is 'dependencies' meant?",
        f"{path}: unknown key 'descripton' of graph 'a'; is 'description' meant?",
        f"{path}: auth has no effect here",
        f"{path}: 'not-there-x>=2' is not installed: pip install 'not-there-x>=2'",
        f"{path}: there is no environment file '.env'",
    ]


TWO_TEXTS = """
from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    left: str
    right: str
    answer: str

def node(state):
    return {"answer": state["left"].upper()}

builder = StateGraph(State, input_schema=TypedDict("Input", {"left": str, "right": str}))
graph = builder.add_node("node", node).add_edge(START, "node").compile()
"""


async def test_a_graph_that_no_message_fits_is_logged_with_the_line_to_write(
    url: str, project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(project, {"mine.py": TWO_TEXTS})
    load_graphs(["mine.py:graph"])
    [record] = caplog.records
    warning, _, line = record.message.partition(" write in langgraph.json ")
    assert warning == (
        "graph 'graph' refuses messages without `inputs`: its input has left, right, and none of"
        " them evidently takes the message. To name the one that does,"
    )
    write(project, {"langgraph.json": line})
    assert await told(url, "langgraph.json") == {"graph": "HELLO"}


def test_objects_and_graphs_that_take_no_text_are_warned_of_as_it_helps(
    caplog: pytest.LogCaptureFixture,
) -> None:
    texts = StateGraph(TypedDict("Texts", {"left": str, "right": str}))
    numbers = StateGraph(TypedDict("Numbers", {"count": int}))
    graphs = [g.add_node("n", nothing).add_edge(START, "n").compile() for g in (texts, numbers)]
    load_graphs([("texts", graphs[0]), ("numbers", graphs[1])])
    [record] = caplog.records
    assert record.message.endswith("write serve_graph(..., input='left')")
    caplog.clear()
    load_graphs([serve_graph("texts", graphs[0], input="left")])
    assert not caplog.records


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "truncated"),
        ("[]", "Expected `object`"),
        ('{"graphs": 7}', "Expected `object`, got `int` - at `$.graphs`"),
        ('{"graphs": {"a": "mine.py"}}', "graph 'a': 'mine.py' is not of the form"),
        ('{"graphs": {"a": {}}}', "missing required field `path`"),
        (
            '{"graphs": {"a": {"path": "mine.py:graph", "state": "all"}}}',
            "Invalid enum value 'all'",
        ),
        (
            '{"graphs": {"a": "mine.py:graph"}, "dependencies": ["./gone"]}',
            "the dependency './gone' is not there",
        ),
        (
            '{"graphs": {"a": {"path": "mine.py:graph", "input": "topic"}}}',
            "it takes no 'topic': it takes messages",
        ),
        ('{"graphs": {}}', "names no graphs"),
    ],
)
def test_a_langgraph_json_that_cannot_be_read_is_refused(
    project: Path, text: str, told: str
) -> None:
    write(project, {"langgraph.json": text, "mine.py": GRAPH.replace("WORDS", "'x'")})
    assert told in refused("langgraph.json")


# -- objects and names --------------------------------------------------------------------------


async def nothing(state: Any) -> dict[str, Any]:
    return {}


def named_like_this() -> Any:
    return chain(node=nothing)


def test_objects_are_served_under_names_of_their_own() -> None:
    served = serve_graph("mine", chain(node=nothing))
    builder = chain(node=nothing).builder  # type: ignore[attr-defined]
    unnamed = [builder.compile(), builder.compile()]
    given = [
        served,
        chain("named", node=nothing),
        ("pair", chain("other", node=nothing)),
        named_like_this,
        builder,
    ]
    assert [one.name for one in load_graphs([*given, *unnamed])] == [
        *("mine", "named", "pair", "named_like_this", "graph", "LangGraph-1", "LangGraph-2"),
    ]
    assert load_graphs([served]) == [served]
    assert [one.name for one in load_graphs(unnamed[:1])] == ["LangGraph"]


def test_graphs_called_alike_are_told_apart_by_their_files(project: Path) -> None:
    for place in ("a/graph.py", "b/graph.py", "chat.py", "c/graph.py"):
        write(project, {place: GRAPH.replace("WORDS", "'x'")})
    specs = ["a/graph.py:graph", "b/graph.py:graph", "chat.py:graph", ("own", "c/graph.py:graph")]
    assert [one.name for one in load_graphs(specs)] == ["a", "b", "chat", "own"]
    assert [one.name for one in load_graphs(specs[:1])] == ["graph"]


@pytest.mark.parametrize("names", [("mine", "mine"), ("team",)])
async def test_two_graphs_of_one_name_are_refused(url: str, names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=names[0]):
        async with opened(url, *(chain(name, node=nothing) for name in names)):
            pass


async def test_a_module_may_run_an_event_loop_of_its_own(url: str, project: Path) -> None:
    source = (
        SAYING
        + "import asyncio\nasync def make():\n    return saying('made').compile()\n"
        + "graph = asyncio.run(make())\n"
    )
    write(project, {"mine.py": source})
    assert await told(url, "mine.py:graph") == {"graph": "made"}


async def test_the_first_graph_of_all_is_the_default(url: str, project: Path) -> None:
    write(project, {"mine.py": GRAPH.replace("WORDS", "'x'")})
    async with opened(url, "mine.py:graph", chain("later", node=saying("hi"))) as engine:
        assert (engine.default_graph, list(engine.graphs)) == ("graph", ["graph", "later", "team"])
