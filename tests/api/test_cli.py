"""The command `antiphon`."""

from __future__ import annotations

import gc
import json
import os
import socket
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from click.testing import CliRunner, Result
from websockets.sync.client import connect

from antiphon.api.cli import main
from tests.api.flows import saying
from tests.orchestrator.projects import write
from tests.support.server import GRAPHS, ROOT, SECRET, clean_environment, server_process


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No settings in the environment, and an empty folder to work in."""
    for name in list(os.environ):
        if name.startswith(("ANTIPHON_", "OPENAI_", "OTEL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def antiphon(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


pytestmark = pytest.mark.usefixtures("alone")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.7.7"])
def test_serving_others_without_a_secret_is_refused(host: str) -> None:
    refused = antiphon("serve", "--host", host, "--port", "0")
    assert refused.exit_code == 1
    assert "refusing to listen" in refused.output
    assert "ANTIPHON_JWT_SECRET" in refused.output


def test_a_short_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_JWT_SECRET", "too short a secret")
    refused = antiphon("serve", "--port", "0")
    assert refused.exit_code == 1
    assert "32 bytes" in refused.output
    assert "too short a secret" not in refused.output


def test_a_port_that_is_taken_is_told_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken, warnings.catch_warnings():
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        warnings.simplefilter(
            "ignore", ResourceWarning
        )  # `listen` forgets its socket where it cannot bind
        refused = antiphon(
            "serve", "--port", str(taken.getsockname()[1]), "--db", f"sqlite:///{tmp_path / 'x.db'}"
        )
        code, told = refused.exit_code, refused.output
        del refused
        gc.collect()
    assert code == 1
    assert told.startswith("Error: cannot listen on 127.0.0.1:")


@pytest.mark.parametrize("options", [("--model", "bogus"), ("--graph", "missing.py:graph")])
def test_settings_that_cannot_be_served_are_told_in_one_line(
    options: tuple[str, str], tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "antiphon.api",
        "serve",
        "--port",
        "0",
        "--db",
        f"sqlite:///{tmp_path / 'x.db'}",
        *options,
    ]
    environment = clean_environment(PYTHONPATH=str(ROOT), XDG_STATE_HOME=str(tmp_path))
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode not in (0, -11)
    told = ended.stderr.strip().splitlines()
    assert not any("Traceback" in line for line in told), told[-1]
    assert told[-1].startswith("Error: ")


def test_a_token_is_minted_that_the_server_believes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_JWT_SECRET", SECRET)
    monkeypatch.setenv("ANTIPHON_JWT_AUDIENCE", "aud")
    monkeypatch.setenv("ANTIPHON_JWT_ISSUER", "iss")
    minted = antiphon(
        "token", "ada", "--email", "a@x", "--name", "Ada", "--access", "internal", "--hours", "0.5"
    )
    assert minted.exit_code == 0
    claims = jwt.decode(
        minted.output.strip(), SECRET, algorithms=["HS256"], audience="aud", issuer="iss"
    )
    assert (claims["sub"], claims["email"], claims["name"], claims["access"]) == (
        "ada",
        "a@x",
        "Ada",
        ["internal"],
    )
    assert claims["exp"] - claims["iat"] == 1800


def test_no_token_is_minted_without_a_secret() -> None:
    refused = antiphon("token", "ada")
    assert refused.exit_code == 1
    assert "ANTIPHON_JWT_SECRET" in refused.output


def test_the_doctor_finds_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_PORT", "eighty")
    ill = antiphon("doctor")
    assert ill.exit_code == 1
    assert "port" in ill.output


def test_documents_are_ingested_where_the_server_looks_for_them(tmp_path: Path) -> None:
    document = tmp_path / "zebra.md"
    document.write_text("# Zebra crossing\n\nThe zebra costs 42 talers.\n")
    database = f"sqlite:///{tmp_path / 'log.db'}"
    done = antiphon("ingest", str(document), "--db", database, "--clear")
    assert (done.exit_code, done.output.strip()) == (0, "1 documents added, 1 in all")


def test_version_and_help() -> None:
    assert "antiphon" in antiphon("--version").output
    for command in ("serve", "ingest", "token", "doctor"):
        assert command in antiphon("--help").output


def test_graphs_of_a_langgraph_json_are_served_beside_the_team(tmp_path: Path) -> None:
    """A folder as `langgraph dev` knows it, with the command as a user types it."""
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"mine": f"{GRAPHS}:asking"}}))
    command = [
        str(Path(sys.executable).parent / "antiphon"),
        "serve",
        "--port",
        "0",
        "--db",
        "sqlite:///log.db",
    ]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("Antiphon answers at http://127.0.0.1:")
            assert server.stdout.readline() == "Graphs: mine, team (the first is the default)\n"
            assert httpx.get(f"{line.split()[3]}/health", trust_env=False).json()["graphs"] == [
                "mine",
                "team",
            ]
        finally:
            server.terminate()
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"mine.py": "x = 1\n1 / 0\n"}, "mine.py, line 2: ZeroDivisionError: division by zero"),
        ({"mine.py": "import sys; sys.exit('no key')"}, "mine.py, line 1: SystemExit: no key"),
        (
            {"mine.py": "def graph(:"},
            "mine.py, line 1: SyntaxError: invalid syntax (mine.py, line 1)",
        ),
    ],
)
@pytest.mark.parametrize("command", ["serve", "doctor"])
def test_a_graph_that_cannot_be_loaded_is_told_in_one_line(
    tmp_path: Path, files: dict[str, str], line: str, command: str
) -> None:
    write(
        tmp_path, files | {"langgraph.json": '{"graphs": {"mine": "./mine.py:graph"}, "grafs": {}}'}
    )
    ended = subprocess.run(
        [str(Path(sys.executable).parent / "antiphon"), command],
        cwd=tmp_path,
        env=clean_environment(PYTHONPATH=str(ROOT)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    told = f"graph 'mine' (./mine.py:graph) cannot be loaded: {line}"
    before, after = (
        ("Error: cannot serve: ", "") if command == "serve" else ("problem: ", "1 found")
    )
    assert ended.returncode == 1
    assert f"{before}{told}\n" in ended.stdout + ended.stderr
    assert after in ended.stdout
    assert "Traceback" not in ended.stdout + ended.stderr
    assert (ended.stdout + ended.stderr).count("unknown key 'grafs'; is 'graphs' meant?") == 1


def test_a_graph_whose_state_is_a_plain_typed_dict_is_served(tmp_path: Path) -> None:
    """As most examples write it: `from typing import TypedDict`."""
    source = GRAPHS.read_text().replace("from typing_extensions import", "from typing import")
    (tmp_path / "plain.py").write_text(source)
    with server_process(tmp_path, {}, "--graph", f"{tmp_path / 'plain.py'}:asking") as server:
        answer = httpx.post(f"{server.url}/api/v1/chat", json={"message": "hi"}, trust_env=False)
    assert answer.json()["response"] == "So it is: hi "


def test_a_minted_token_opens_a_served_door(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_JWT_SECRET", SECRET)
    minted = antiphon("token", "ada").output.strip()
    with server_process(tmp_path, {"ANTIPHON_JWT_SECRET": SECRET}) as server:
        url = f"{server.url}/api/v1/threads"
        assert httpx.get(url, trust_env=False).status_code == 401
        assert (
            httpx.get(
                url, headers={"authorization": f"Bearer {minted}"}, trust_env=False
            ).status_code
            == 200
        )
        assert httpx.get(f"{url}?token={minted}", trust_env=False).status_code == 200
        revoked = antiphon("revoke", "--user", "ada", "--db", f"sqlite:///{server.database}")
        assert (revoked.exit_code, revoked.output) == (0, "revoked\n")
        log = server.log
    assert "[redacted]" in log
    assert minted not in log
    assert minted.split(".")[2] not in log


# -------------------------------------------------------------------------------------------- flows


def flow(*arguments: str, user: str = "ada", given: str | None = None) -> Result:
    """`antiphon flow …` on the database of this test."""
    options = [] if arguments[0] == "check" else ["--user", user, "--db", "sqlite:///log.db"]
    return CliRunner().invoke(main, ["flow", *arguments, *options], input=given)


def stored(folder: Path, definition: Any, *options: str) -> str:
    """Import a definition from a file. Returns its id."""
    (folder / "given.json").write_text(json.dumps(definition))
    done = flow("import", "given.json", *options)
    assert done.exit_code == 0, done.output
    return done.output.split("\t")[0]


def test_a_flow_is_imported_listed_and_exported_as_it_was(tmp_path: Path) -> None:
    assert (flow("list").exit_code, flow("list").output) == (0, "")
    definition = saying("yes:\n  12:30 \u2028🙂") | {"zoom": 1.5, "on": "off"}
    mine = stored(tmp_path, definition)
    assert flow("list").output == f"{mine}\tdraft 1\tpublished -\n"
    for form in ("json", "yaml"):
        exported = flow("export", mine, "--format", form)
        assert exported.exit_code == 0
        again = flow(
            "import", "-", "--agent-id", f"again-{form}", "--publish", given=exported.output
        )
        assert again.output == f"again-{form}\tdraft 1\tpublished 1\n"
        assert (
            json.loads(flow("export", f"again-{form}", "--format", "json", "--published").output)
            == definition
        )
        assert flow("export", f"again-{form}", "--format", form).output == exported.output


def test_an_import_with_an_id_is_that_flows_next_draft(tmp_path: Path) -> None:
    mine = stored(tmp_path, saying("one"), "--publish")
    assert stored(tmp_path, saying("two"), "--agent-id", mine) == mine
    assert flow("list").output == f"{mine}\tdraft 2\tpublished 1\n"
    assert json.loads(flow("export", mine, "--format", "json").output) == saying("two")
    assert json.loads(flow("export", mine, "--format", "json", "--published").output) == saying(
        "one"
    )


def test_a_flow_is_its_owners_alone_here_too(tmp_path: Path) -> None:
    mine = stored(tmp_path, saying("one"), "--publish")
    refused = [
        flow("export", mine, user="eve"),
        flow("import", "given.json", "--agent-id", mine, user="eve"),
        flow("export", "nobody"),
    ]
    for one in refused:
        assert (one.exit_code, one.output) == (1, "Error: There is no such thing here.\n")
    assert flow("list", user="eve").output == ""


def test_the_built_in_team_is_exported_and_can_be_imported() -> None:
    exported = flow("export", "team")
    assert flow("import", "-", given=exported.output).exit_code == 0
    taken = flow("import", "-", "--agent-id", "team", given=exported.output)
    assert taken.exit_code == 1
    assert taken.output.startswith("Error: An agent id has")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{\n  "nodes": [}', "line 2, column 13 (/): This is not valid JSON. [BAD_TEXT]"),
        ("nodes: &a []", "line 1, column 8 (/): Anchors and aliases are not allowed. [BAD_TEXT]"),
        (
            "nodes:\n  - id: in\n    type: bogus\n",
            "line 3, column 11 (/nodes/0/type): There is no such type of node",
        ),
        ("", "/: A flow is an object with nodes and edges. [WRONG_TYPE]"),
    ],
)
@pytest.mark.parametrize("command", ["check", "import"])
def test_errors_of_a_flow_are_told_with_their_lines_and_columns(
    tmp_path: Path, command: str, text: str, told: str
) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    refused = flow(command, "bad.yaml")
    assert refused.exit_code == 1
    first, *rest = refused.output.splitlines()
    assert first == "Error: the flow cannot be executed"
    assert rest[0].startswith(told)
    assert flow("list").output == ""


def test_errors_inside_of_expressions_have_their_places_there(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(saying("Hi {{ message + }}"), indent=1))
    refused = flow("check", "bad.json")
    assert refused.exit_code == 1
    assert "(/nodes/1/config/template), there at 1:" in refused.output
    assert "[BAD_EXPRESSION]" in refused.output


def test_a_flow_that_can_be_executed_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(saying("hi")))
    fine = flow("check", "good.json")
    assert (fine.exit_code, fine.output) == (0, "the flow can be executed\n")
    assert flow("check", "missing.json").exit_code == 2
    assert flow("export", "team", "--format", "xml").exit_code == 2


def test_a_flow_that_is_imported_beside_a_running_server_is_served_at_once(tmp_path: Path) -> None:
    """Taken from one server over HTTP as YAML, given to another one by the command, and run by
    somebody else.
    """
    definition = saying("Hello {{ message }}.") | {"viewport": {"x": 1.5}}
    with (
        server_process(tmp_path, {}) as server,
        httpx.Client(base_url=server.url, trust_env=False) as client,
    ):
        drawn = client.post("/api/v1/flows", json=definition).json()["agent_id"]
        exported = client.get(f"/api/v1/flows/{drawn}", params={"format": "yaml"}).text
        assert flow("export", drawn, user="local").output == exported
        done = flow("import", "-", "--agent-id", "greeter", "--publish", user="ada", given=exported)
        assert done.output == "greeter\tdraft 1\tpublished 1\n"
        with connect(f"{server.ws}/api/chat/execute/greeter", proxy=None) as opened:
            opened.send(json.dumps({"message": "Bob", "user_id": "bob"}))
            frames = [json.loads(opened.recv(10))]
            while frames[-1]["type"] not in ("flow_completed", "flow_error"):
                frames.append(json.loads(opened.recv(10)))
    assert frames[-1]["data"]["final_output"] == {"text_output": "Hello Bob."}
    assert json.loads(flow("export", "greeter", "--format", "json").output) == definition


# ------------------------------------------------------------------------- what stops a command


@pytest.fixture
def document(tmp_path: Path) -> str:
    path = tmp_path / "fact.md"
    path.write_text("# A fact\n\nIt is one.\n")
    return str(path)


COMMANDS = {
    "serve": ("serve", "--port", "0"),
    "revoke": ("revoke", "--user", "ada"),
    "flow": ("flow", "list"),
    "ingest": ("ingest", "fact.md"),
}
UNUSABLE = {
    "a folder": ("sqlite:///folder.db", "cannot open"),
    "no database": ("sqlite:///text.db", "cannot open"),
    "below a file": ("sqlite:///fact.md/log.db", "cannot open"),
    "where nothing can be": ("sqlite:////proc/nothing/log.db", "cannot open"),
    "another system": ("postgresql://ada:hidden@host/db", "no database backend for 'postgresql'"),
    "a path": ("log.db", "no database backend for 'log.db'"),
    "two slashes": ("sqlite://log.db", "names no file"),
    "no file": ("sqlite:///", "names no file"),
}


@pytest.mark.usefixtures("document")
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", UNUSABLE)
def test_a_database_that_cannot_be_opened_is_told_in_one_line(
    tmp_path: Path, command: str, name: str
) -> None:
    for file in ("text", "text-knowledge"):
        (tmp_path / f"{file}.db").write_text("this is a text and no database " * 40)
    for folder in ("folder.db", "folder-knowledge.db"):
        (tmp_path / folder).mkdir()
    url, reason = UNUSABLE[name]
    refused = antiphon(*COMMANDS[command], "--db", url)
    assert refused.exit_code == 1
    assert isinstance(refused.exception, SystemExit)
    assert refused.stderr.startswith("Error: ")
    assert refused.stderr.count("\n") == 1
    assert reason in refused.stderr or (command == "ingest" and "knowledge store" in refused.stderr)
    assert "hidden" not in refused.stderr


def test_knowledge_that_cannot_be_opened_stops_the_server_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "log-knowledge.db").write_text("this is a text and no database " * 40)
    refused = antiphon("serve", "--port", "0", "--db", "sqlite:///log.db")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert "log-knowledge.db: file is not a database" in refused.stderr


def test_documents_that_cannot_be_read_are_told_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    (folder / "odd.md").symlink_to("/proc/self/mem")  # opens, but cannot be read
    refused = antiphon("ingest", str(folder), "--db", "sqlite:///log.db")
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("Error: ")


@pytest.mark.parametrize("host", ["a..b", "999.1.1.1", "x" * 70])
def test_a_host_that_is_none_is_told_in_one_line(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTIPHON_JWT_SECRET", SECRET)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        refused = antiphon("serve", "--host", host, "--port", "0", "--db", "sqlite:///log.db")
        code, told = refused.exit_code, refused.output
        del refused
        gc.collect()
    assert code == 1
    assert told.startswith(f"Error: cannot listen on {host}:0: ")
