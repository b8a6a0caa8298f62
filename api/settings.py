"""All settings, in one frozen value. The only file that reads the environment."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from collections.abc import Mapping
from typing import Literal

import msgspec

from antiphon.api.bounds import CHUNK_DELAY_LIMIT, CHUNK_WORDS_LIMIT

SECRET_BYTES = 32
"""A JWT secret has at least this many bytes."""


class SettingsError(Exception):
    """The settings contradict each other or are unsafe. The text says what to change."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the server is told. Each field is `ANTIPHON_<NAME>` in the environment unless the table below says else."""

    host: str = "127.0.0.1"
    port: int = 8000
    database_url: str | None = None
    """`sqlite:///path`; a file in the user's state folder when None."""
    graphs: tuple[str, ...] = ()
    """Graphs to serve beside the team: `path.py:name`, `package.module:name`, a `langgraph.json`; the first is the
    default one."""
    model: str = "offline"
    """`offline` or `openai:<model>`."""
    openai_api_key: str | None = None
    openai_base_url: str | None = None
    model_seconds: float = 60.0
    """Silence of a model after which its answer counts as lost."""
    model_overflow: Literal["trim", "fail"] = "trim"
    """A conversation that is too long for its model: leave out its older half, or fail with MODEL_CONTEXT."""
    auth: Literal["off", "jwt"] | None = None
    """`off` on loopback only; `jwt` where a secret is set, unless said otherwise."""
    jwt_secret: str | None = None
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    origins: tuple[str, ...] = ()
    """Origins of web pages that may connect, comma-separated; with auth off also every page of this host."""
    hosts: tuple[str, ...] = ()
    """Names by which the server may be addressed, comma-separated; every name where empty and auth is on."""
    lease_seconds: float = 10.0
    max_attempts: int = 3
    heartbeat_seconds: float = 10.0
    auth_seconds: float = 30.0
    """How long a WebSocket may stay without a login."""
    idle_seconds: float = 600.0
    """How long a WebSocket of the flow vocabulary may be open without a message; 0 is for ever."""
    request_seconds: float = 10.0
    """How long a request may take to arrive."""
    send_seconds: float = 30.0
    """How long a reader may take no data before it is disconnected."""
    requests_per_minute: int = 600
    """Requests of one user; a sixth of it at once. 0 is no limit, here and below; with auth off nobody is limited."""
    address_requests_per_minute: int = 3000
    """Requests from one address, before anybody asks who it is."""
    frames_per_second: int = 50
    """WebSocket frames of one connection; twice as many at once."""
    connections_per_user: int = 64
    """Open streams and WebSockets of one user."""
    anonymous_sockets: int = 500
    """WebSockets that have not logged in yet."""
    runs_per_user: int = 32
    """Runs of one user that have not ended."""
    run_tokens: int | None = None
    """Pieces of text that one run's models may stream."""
    run_seconds: float | None = 600.0
    run_tool_calls: int | None = 100
    user_tokens_per_day: int | None = None
    """Tokens that the runs of one user may use in a day (UTC), as the models count them."""
    body_bytes: int = 1024 * 1024
    """Size of a request body or a WebSocket message at most."""
    chunk_words: int = 0
    """Words of a token in the sessions vocabulary where a request does not say; 0 is true streaming."""
    chunk_delay_ms: int = 0
    """Milliseconds between two such tokens, at most 1000."""
    node_threads: int = 64
    """Threads for what graphs do without `async`."""
    drain_seconds: float = 10.0
    """How long a shutdown waits for open streams."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otel_exporter_otlp_endpoint: str | None = None
    """Where a collector listens for OTLP over HTTP; nothing is traced where neither this nor the next is set."""
    otel_exporter_otlp_traces_endpoint: str | None = None
    """The same for traces only, with its whole path."""
    otel_service_name: str = "antiphon"

    @property
    def auth_on(self) -> bool:
        """Whether callers must log in."""
        return self.auth == "jwt" or (self.auth is None and self.jwt_secret is not None)

    @property
    def traces_url(self) -> str | None:
        """Where traces are sent, as OpenTelemetry's specification makes it of the two endpoints."""
        if self.otel_exporter_otlp_traces_endpoint:
            return self.otel_exporter_otlp_traces_endpoint
        base = self.otel_exporter_otlp_endpoint
        return f"{base.rstrip('/')}/v1/traces" if base else None

    def check(self) -> Settings:
        """The same settings, or `SettingsError` where they are unsafe."""
        if self.auth_on and len((self.jwt_secret or "").encode()) < SECRET_BYTES:
            raise SettingsError(
                f"ANTIPHON_JWT_SECRET needs at least {SECRET_BYTES} bytes when auth is on;"
                " `python -c 'import secrets; print(secrets.token_urlsafe(48))'` makes one"
            )
        if not self.auth_on and not is_loopback(self.host):
            raise SettingsError(
                f"refusing to listen on {self.host} without authentication:"
                " set ANTIPHON_JWT_SECRET, or listen on 127.0.0.1"
            )
        if self.traces_url is not None:
            _check_traces(self.traces_url)
        for name, limit in (("chunk_words", CHUNK_WORDS_LIMIT), ("chunk_delay_ms", CHUNK_DELAY_LIMIT)):
            if not 0 <= getattr(self, name) <= limit:
                raise SettingsError(f"ANTIPHON_{name.upper()} must be a number from 0 to {limit}")
        return self


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _check_traces(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise SettingsError("OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://: traces go over HTTP")
    try:
        found = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but tracing is not installed: pip install 'antiphon[otel]'"
        )


_FOREIGN = ("openai_", "otel_")
"""Beginnings of settings whose variables are others' standards, and so are not prefixed."""


def read_settings(environment: Mapping[str, str] | None = None, **given: object) -> Settings:
    """Settings from the environment, with what the command line gives on top. Raises `SettingsError`."""
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        text = environment.get(("" if field.name.startswith(_FOREIGN) else "ANTIPHON_") + field.name.upper())
        if text:
            is_list = isinstance(field.default, tuple)
            values[field.name] = [one.strip() for one in text.split(",") if one.strip()] if is_list else text
    values.update({name: value for name, value in given.items() if value not in (None, ())})
    try:
        return msgspec.convert(values, Settings, strict=False).check()
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from None
