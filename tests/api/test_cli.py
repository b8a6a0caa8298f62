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

import httpx
import jwt
import pytest
from click.testing import CliRunner, Result

from api.cli import main
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
        warnings.simplefilter("ignore", ResourceWarning)  # `listen` forgets its socket where it cannot bind
        refused = antiphon("serve", "--port", str(taken.getsockname()[1]), "--db", f"sqlite:///{tmp_path / 'x.db'}")
        code, told = refused.exit_code, refused.output
        del refused
        gc.collect()
    assert code == 1
    assert told.startswith("Error: cannot listen on 127.0.0.1:")


@pytest.mark.parametrize("options", [("--model", "bogus"), ("--graph", "missing.py:graph")])
def test_settings_that_cannot_be_served_are_told_in_one_line(options: tuple[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "api", "serve", "--port", "0", "--db", f"sqlite:///{tmp_path / 'x.db'}", *options]
    environment = clean_environment(PYTHONPATH=str(ROOT), XDG_STATE_HOME=str(tmp_path))
    ended = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode not in (0, -11)
    told = ended.stderr.strip().splitlines()
    assert not any("Traceback" in line for line in told), told[-1]
    assert told[-1].startswith("Error: ")


def test_a_token_is_minted_that_the_server_believes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_JWT_SECRET", SECRET)
    monkeypatch.setenv("ANTIPHON_JWT_AUDIENCE", "aud")
    monkeypatch.setenv("ANTIPHON_JWT_ISSUER", "iss")
    minted = antiphon("token", "ada", "--email", "a@x", "--name", "Ada", "--access", "internal", "--hours", "0.5")
    assert minted.exit_code == 0
    claims = jwt.decode(minted.output.strip(), SECRET, algorithms=["HS256"], audience="aud", issuer="iss")
    assert (claims["sub"], claims["email"], claims["name"], claims["access"]) == ("ada", "a@x", "Ada", ["internal"])
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
    command = [str(Path(sys.executable).parent / "antiphon"), "serve", "--port", "0", "--db", "sqlite:///log.db"]
    environment = clean_environment(PYTHONPATH=str(ROOT))
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line.startswith("Antiphon answers at http://127.0.0.1:")
            assert httpx.get(f"{line.split()[3]}/health", trust_env=False).json()["graphs"] == ["mine", "team"]
        finally:
            server.terminate()
    assert server.returncode == 0


def test_a_graph_whose_state_is_a_plain_typed_dict_is_served(tmp_path: Path) -> None:
    """As most examples write it: `from typing import TypedDict`."""
    source = GRAPHS.read_text().replace("from typing_extensions import", "from typing import")
    (tmp_path / "plain.py").write_text(source)
    with server_process(tmp_path, {}, "--graph", f"{tmp_path / 'plain.py'}:asking") as server:
        answer = httpx.post(f"{server.url}/api/v1/chat", json={"message": "hi"}, trust_env=False)
    assert answer.json()["response"] == "So it is: hi "


def test_a_minted_token_opens_a_served_door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_JWT_SECRET", SECRET)
    minted = antiphon("token", "ada").output.strip()
    with server_process(tmp_path, {"ANTIPHON_JWT_SECRET": SECRET}) as server:
        url = f"{server.url}/api/v1/threads"
        assert httpx.get(url, trust_env=False).status_code == 401
        assert httpx.get(url, headers={"authorization": f"Bearer {minted}"}, trust_env=False).status_code == 200
        assert httpx.get(f"{url}?token={minted}", trust_env=False).status_code == 200
        revoked = antiphon("revoke", "--user", "ada", "--db", f"sqlite:///{server.database}")
        assert (revoked.exit_code, revoked.output) == (0, "revoked\n")
        log = server.log
    assert "[redacted]" in log
    assert minted not in log
    assert minted.split(".")[2] not in log
