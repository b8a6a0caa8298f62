"""A real collector on loopback: it takes OTLP over HTTP as protobuf, and keeps the spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.server import wait_until


@dataclass(frozen=True)
class Told:
    """A span as the collector has it."""

    service: str
    trace_id: str
    id: str
    parent_id: str
    name: str
    started: int
    ended: int
    failed: bool
    attributes: dict[str, Any]


class Collector:
    """The spans that came, in the order in which they came. `hold` keeps requests waiting for their answer."""

    def __init__(self) -> None:
        self.spans: list[Told] = []
        self.bodies: list[bytes] = []
        self.paths: list[str] = []
        self.answers = threading.Event()
        self.answers.set()
        self.url = ""

    def named(self, name: str) -> list[Told]:
        return [span for span in self.spans if span.name == name]

    def wait_for(self, name: str, count: int = 1) -> list[Told]:
        """So many spans of this name, once they are there."""
        wait_until(lambda: len(self.named(name)) >= count, f"no {count} spans {name!r}")
        return self.named(name)

    def take(self, path: str, body: bytes) -> None:
        self.paths.append(path)
        self.bodies.append(body)
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = {pair.key: pair.value.string_value for pair in resource.resource.attributes}[
                "service.name"
            ]
            self.spans += [
                _told(service, span) for scope in resource.scope_spans for span in scope.spans
            ]


def _told(service: str, span: Any) -> Told:
    return Told(
        service=service,
        trace_id=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        started=span.start_time_unix_nano // 1_000_000,
        ended=span.end_time_unix_nano // 1_000_000,
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
        attributes={
            pair.key: getattr(pair.value, pair.value.WhichOneof("value"))
            for pair in span.attributes
        },
    )


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port, for as long as the block lasts."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            collector.answers.wait(30)
            collector.take(self.path, body)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Not to standard error."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(
            target=server.serve_forever, args=(0.01,), name="collector", daemon=True
        )
        thread.start()
        try:
            yield collector
        finally:
            collector.answers.set()
            server.shutdown()
            thread.join()
