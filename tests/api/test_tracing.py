"""Traces: what a collector receives of runs, what it never receives, and that nothing needs it."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from antiphon.api.settings import SettingsError, read_settings
from tests.support.collector import Collector, collecting
from tests.support.deadline import DEADLINE
from tests.support.model_server import Reply
from tests.support.server import (
    ROOT,
    ProcessServer,
    Teller,
    clean_environment,
    free_port,
    model_environment,
    server_process,
)

RUNS = "/api/v1/runs"
QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "20"}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"
SECRET_TEXT = "zanzibar"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as opened:
        yield opened


def to(collector: Collector, teller: Teller, **more: str) -> dict[str, str]:
    return model_environment(teller) | {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url} | QUICK | more


def ask(server: ProcessServer, question: str, **headers: str) -> dict[str, Any]:
    """Ask, and wait for the end. Returns the run."""
    with httpx.Client(base_url=server.url, timeout=DEADLINE, trust_env=False) as client:
        run = client.post(RUNS, json={"message": question}, headers=headers).json()
        client.get(f"{RUNS}/{run['run_id']}/events").raise_for_status()
        return dict(client.get(f"{RUNS}/{run['run_id']}").json())


def test_a_run_is_told_with_its_agents_and_their_models_and_without_any_text(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    question = teller.answer(f"Where is {SECRET_TEXT}?", f"{SECRET_TEXT} is far.")
    with server_process(tmp_path, to(collector, teller)) as server:
        run = ask(server, question)
        assert server.terminate() == 0
    (whole,) = collector.named("run")
    assert set(collector.paths) == {"/v1/traces"}
    assert whole.attributes == {
        "run_id": run["id"],
        "thread_id": run["thread_id"],
        "graph": run["graph"],
        "attempt": 1,
        "dialect": "native",
        "status": "completed",
    }
    assert (whole.trace_id, whole.parent_id, whole.service) == (
        run["id"].replace("-", ""),
        "",
        "antiphon",
    )
    assert {span.trace_id for span in collector.spans} == {whole.trace_id}
    by_id = {span.id: span for span in collector.spans}
    assert len(by_id) == len(collector.spans)
    agents = [span for span in collector.spans if span.name.startswith("agent ")]
    assert {"agent classifier", "agent retriever"} < {span.name for span in agents}
    assert {span.parent_id for span in agents} == {whole.id}
    models = collector.named("model gpt-4o-mini")
    assert {by_id[span.parent_id].name for span in models} <= {span.name for span in agents}
    assert any(span.attributes.get("output_tokens", 0) > 0 for span in models)
    for span in collector.spans:
        assert whole.started <= span.started <= span.ended <= whole.ended
    for body in collector.bodies:
        assert SECRET_TEXT.encode() not in body
        assert b"sk-test" not in body


def test_a_run_that_came_with_a_trace_belongs_to_it(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    names = to(
        collector,
        teller,
        OTEL_SERVICE_NAME="choir",
        OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/mine",
    )
    with server_process(tmp_path, names) as server:
        ask(server, "in a trace", traceparent=TRACEPARENT)
        ask(server, "not sampled", traceparent=TRACEPARENT[:-1] + "0")
        ask(server, "not a trace", traceparent="00-0-0-0")
        server.terminate()
    traced, own = sorted(collector.named("run"), key=lambda span: span.started)
    assert (traced.trace_id, traced.parent_id, traced.service) == (TRACE, PARENT, "choir")
    assert own.trace_id == own.attributes["run_id"].replace("-", "")
    assert set(collector.paths) == {"/mine"}


def test_the_same_request_of_another_trace_is_the_same_request(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    with server_process(tmp_path, to(collector, teller)) as server:
        key = {"idempotency-key": "once"}
        first = ask(server, "asked twice", traceparent=TRACEPARENT, **key)
        assert (
            ask(server, "asked twice", traceparent=TRACEPARENT.replace("b7-", "b8-"), **key)
            == first
        )


def test_a_run_that_fails_says_its_code_and_the_log_its_trace(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    question = teller.answer("fails", Reply(status=400, error=f"{SECRET_TEXT} is wrong"))
    with server_process(tmp_path, to(collector, teller)) as server:
        run = ask(server, question)
        server.terminate()
        log = server.log
    (whole,) = collector.named("run")
    assert run["status"] == whole.attributes["status"] == "failed"
    assert whole.attributes["code"] == run["error"]["code"]
    assert whole.failed
    assert any(span.failed for span in collector.spans if span.name.startswith("model "))
    assert f'"trace_id":"{whole.trace_id}"' in log
    assert not any(SECRET_TEXT.encode() in body for body in collector.bodies)


def test_both_attempts_of_a_run_that_was_killed_share_one_trace(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer(
        "killed", Reply("One two three.", gate=gate, gate_at=1), "One two three."
    )
    with server_process(tmp_path, to(collector, teller)) as server:
        with httpx.Client(base_url=server.url, timeout=DEADLINE, trust_env=False) as client:
            run_id = client.post(RUNS, json={"message": question}).json()["run_id"]
            with client.stream("GET", f"{RUNS}/{run_id}/events") as events:
                next(line for line in events.iter_lines() if line == "event: agent_chunk")
            collector.wait_for("agent classifier")
            server.kill()
            gate.set()
            server.start()
            client.get(f"{RUNS}/{run_id}/events").raise_for_status()
        server.terminate()
    lost, whole = sorted(collector.named("run"), key=lambda span: span.attributes["attempt"])
    assert lost.trace_id == whole.trace_id == run_id.replace("-", "")
    assert [lost.attributes["status"], whole.attributes["status"]] == ["lost", "completed"]
    assert [lost.attributes["attempt"], whole.attributes["attempt"]] == [1, 2]
    (classifier,) = collector.named("agent classifier")
    assert classifier.parent_id == lost.id, (
        "told by the process that died, below what the next one told of it"
    )
    unfinished = [
        s
        for s in collector.spans
        if s.parent_id == lost.id and s.attributes.get("finish_reason") == "lost"
    ]
    assert unfinished
    assert len({span.id for span in collector.spans}) == len(collector.spans)


def test_a_run_that_is_handed_back_is_told_by_both_processes(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    gate = threading.Event()
    question = teller.answer(
        "handed back", Reply("One two three.", gate=gate, gate_at=1), "One two three."
    )
    with server_process(tmp_path, to(collector, teller)) as server:
        with httpx.Client(base_url=server.url, timeout=DEADLINE, trust_env=False) as client:
            run_id = client.post(RUNS, json={"message": question}).json()["run_id"]
            teller.wait_tokens(question, 1)
            assert server.terminate() == 0
            gate.set()
            server.start()
            client.get(f"{RUNS}/{run_id}/events").raise_for_status()
        server.terminate()
    runs = sorted(collector.named("run"), key=lambda span: span.started)
    assert [span.attributes["status"] for span in runs] == ["handed_back", "completed"]
    assert len({span.trace_id for span in runs}) == 1


def test_nobody_waits_for_a_collector_that_is_not_there(tmp_path: Path, teller: Teller) -> None:
    names = (
        model_environment(teller)
        | QUICK
        | {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}"}
    )
    with server_process(tmp_path, names) as server:
        assert ask(server, "nobody collects")["status"] == "completed"
        begun = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begun < 9
        assert "Traceback" not in server.log


def test_a_collector_that_never_answers_holds_a_shutdown_for_two_seconds(
    tmp_path: Path, collector: Collector, teller: Teller
) -> None:
    collector.answers.clear()
    with server_process(tmp_path, to(collector, teller)) as server:
        assert ask(server, "collected never")["status"] == "completed"
        begun = time.monotonic()
        assert server.terminate() == 0
        assert time.monotonic() - begun < 9


# ---------------------------------------------------------------------------------------------- not configured


def python(code: str) -> str:
    """What a fresh process prints."""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=clean_environment(),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


APPLICATION = (
    "import sys; {} from antiphon.api.app import create_app; from antiphon.api.settings import Settings;"
    " create_app(Settings());"
)


def test_nothing_of_it_is_needed_where_it_is_not_configured() -> None:
    """It is made impossible to import here: LangSmith, which LangChain needs, looks for it by itself."""
    assert (
        python(APPLICATION.format("sys.modules['opentelemetry'] = None;") + "print('served')")
        == "served\n"
    )


def test_we_import_nothing_of_it_where_it_is_not_configured() -> None:
    names = ("opentelemetry.exporter", "opentelemetry.proto", "opentelemetry.sdk.trace.export")
    assert (
        python(APPLICATION.format("") + f"print([n for n in {names} if n in sys.modules])")
        == "[]\n"
    )


def test_configured_but_not_installed_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(SettingsError, match=r"antiphon\[otel\]"):
        read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"})


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp/"}, "https://c/otlp/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/x"}, "http://c/x"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://a",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://b",
            },
            "http://b",
        ),
    ],
)
def test_the_endpoint_is_what_the_specification_makes_of_the_variables(
    given: dict[str, str], url: str | None
) -> None:
    assert read_settings(given).traces_url == url


def test_an_endpoint_that_is_no_url_is_refused() -> None:
    with pytest.raises(SettingsError, match="OTEL_EXPORTER_OTLP_ENDPOINT"):
        read_settings({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})
