"""All settings, as one frozen value. Only this file reads the environment."""

from __future__ import annotations

import importlib.util
import ipaddress
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from antiphon.api.bounds import CHUNK_DELAY_LIMIT, CHUNK_WORDS_LIMIT

SECRET_BYTES = 32
"""Minimum length of a JWT secret, in bytes."""


class SettingsError(Exception):
    """Raised if the settings are unsafe or contradict each other. The text says what to change."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a server.

    Each field is `ANTIPHON_<NAME>` in the environment, except those that begin with a prefix of
    `_FOREIGN`: they are `<NAME>`.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    database_url: str | None = None
    """`sqlite:///path`; None is a file in the user's state folder."""
    graphs: tuple[str, ...] = ()
    """Graphs to serve beside the team: `path.py:name`, `package.module:name`, or a
    `langgraph.json`. The first one is the default.
    """
    model: str = "offline"
    """`offline` or `openai:<model>`."""
    openai_api_key: str | None = None
    openai_base_url: str = "https://api.openai.com/v1"
    """Read here, because the client's library would use an empty or quoted variable unchanged."""
    model_seconds: float = 60.0
    """Seconds without output from a model after which its answer counts as lost."""
    model_overflow: Literal["trim", "fail"] = "trim"
    """If a conversation is too long for its model: leave out its older half, or fail with
    MODEL_CONTEXT."""
    auth: Literal["off", "jwt"] | None = None
    """`off` is allowed on loopback only. None is `jwt` if a secret or keys are set, else `off`."""
    jwt_secret: str | None = None
    """Checks tokens of `jwt_algorithm`, and signs those of `antiphon token`."""
    jwt_keys: str | None = None
    """Public keys of an identity provider: a JSON Web Key Set or an OpenID discovery document, as a
    URL (https, or http on this machine) or a file. They check tokens of asymmetric algorithms."""
    jwt_algorithm: Literal["HS256", "HS384", "HS512"] = "HS256"
    jwt_audience: str | None = None
    jwt_issuer: str | None = None
    origins: tuple[str, ...] = ()
    """Origins of web pages that may connect, comma-separated. With auth off, every page of this
    machine may connect too."""
    hosts: tuple[str, ...] = ()
    """Host names by which the server may be addressed, comma-separated. If empty, every name with
    auth on, and names of this machine with auth off.
    """
    lease_seconds: float = 10.0
    max_attempts: int = 3
    heartbeat_seconds: float = 10.0
    auth_seconds: float = 30.0
    """How long a WebSocket may stay open without a login."""
    idle_seconds: float = 600.0
    """How long a WebSocket of the flow vocabulary may be open without a message; 0 is no limit."""
    request_seconds: float = 10.0
    """How long a request may take to arrive."""
    send_seconds: float = 30.0
    """How long a client may read no data before it is disconnected."""
    requests_per_minute: int = 600
    """Requests of one user, a sixth of it at once. Here and below, 0 is no limit, and with auth off
    no limit applies.
    """
    address_requests_per_minute: int = 3000
    """Requests from one address, counted before authentication."""
    frames_per_second: int = 50
    """WebSocket frames of one connection, twice as many at once."""
    connections_per_user: int = 64
    """Open streams and WebSockets of one user."""
    anonymous_sockets: int = 500
    """WebSockets that have not logged in yet."""
    runs_per_user: int = 32
    """Runs of one user that have not ended."""
    run_tokens: int | None = None
    """Chunks of text that the models of one run may stream."""
    run_seconds: float | None = 600.0
    run_tool_calls: int | None = 100
    user_tokens_per_day: int | None = None
    """Tokens that the runs of one user may use in a day (UTC), as the models count them."""
    body_bytes: int = 1024 * 1024
    """Maximum size of a request body or a WebSocket message, in bytes."""
    chunk_words: int = 0
    """Default number of words per token in the sessions vocabulary; 0 is true streaming."""
    chunk_delay_ms: int = 0
    """Milliseconds between two such tokens, at most 1000."""
    node_threads: int = 64
    """Number of threads for the synchronous functions of graphs."""
    drain_seconds: float = 10.0
    """How long a shutdown waits for open streams."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    otel_exporter_otlp_endpoint: str | None = None
    """Base URL of a collector of OTLP over HTTP. Without this and the next one, nothing is traced.
    """
    otel_exporter_otlp_traces_endpoint: str | None = None
    """Full URL for traces only."""
    otel_service_name: str = "antiphon"

    @property
    def auth_on(self) -> bool:
        """Report whether callers must log in."""
        has_keys = self.jwt_secret is not None or self.jwt_keys is not None
        return self.auth == "jwt" or (self.auth is None and has_keys)

    @property
    def traces_url(self) -> str | None:
        """The URL for traces, derived from the two endpoints by OpenTelemetry's specification."""
        if self.otel_exporter_otlp_traces_endpoint:
            return self.otel_exporter_otlp_traces_endpoint
        base = self.otel_exporter_otlp_endpoint
        return f"{base.rstrip('/')}/v1/traces" if base else None

    def check(self) -> Settings:
        """Return the settings themselves. Raises `SettingsError` if they are unsafe."""
        needs_secret = self.jwt_secret is not None or self.jwt_keys is None
        if self.auth_on and needs_secret and len((self.jwt_secret or "").encode()) < SECRET_BYTES:
            raise SettingsError(
                f"ANTIPHON_JWT_SECRET needs at least {SECRET_BYTES} bytes when auth is on;"
                " `python -c 'import secrets; print(secrets.token_urlsafe(48))'` makes one"
            )
        if not self.auth_on and not is_loopback(self.host):
            raise SettingsError(
                f"refusing to listen on {self.host} without authentication:"
                " set ANTIPHON_JWT_SECRET or ANTIPHON_JWT_KEYS, or listen on 127.0.0.1"
            )
        if self.jwt_keys is not None:
            _check_keys(self.jwt_keys)
        if not self.openai_base_url.startswith(("http://", "https://")):
            raise SettingsError("OPENAI_BASE_URL must begin with http:// or https://")
        if self.traces_url is not None:
            _check_traces(self.traces_url)
        for name in self.__struct_fields__:
            _check_number(name, getattr(self, name))
        return self


def is_loopback(host: str) -> bool:
    """Report whether a host name or address means this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def is_key_url(source: str) -> bool:
    """Report whether a source of keys is a safe URL: https, or http on this machine."""
    try:
        parts = urlsplit(source)
        host = parts.hostname or ""
    except ValueError:
        return False
    is_local = parts.scheme == "http" and is_loopback(host)
    return bool(host) and (parts.scheme == "https" or is_local)


_HIGHEST = {"port": 65535, "chunk_words": CHUNK_WORDS_LIMIT, "chunk_delay_ms": CHUNK_DELAY_LIMIT}
_POSITIVE = ("heartbeat_seconds", "lease_seconds", "max_attempts", "node_threads")


def _check_number(name: str, value: object) -> None:
    """Raise `SettingsError` if a value is a number out of range. Other values are accepted."""
    if not isinstance(value, int | float):
        return
    highest = _HIGHEST.get(name, math.inf)
    if math.isfinite(value) and 0 <= value <= highest and (value or name not in _POSITIVE):
        return
    allowed = "above 0" if name in _POSITIVE else "of 0 or more"
    if name in _HIGHEST:
        allowed = f"from 0 to {highest}"
    raise SettingsError(f"ANTIPHON_{name.upper()} must be a number {allowed}")


def _check_keys(source: str) -> None:
    """Raise `SettingsError` if a URL is not safe, or if a file is missing."""
    if is_key_url(source):
        return
    if "://" in source:
        raise SettingsError("ANTIPHON_JWT_KEYS must be https (or http on this machine), or a file")
    if not Path(source).is_file():
        raise SettingsError(f"ANTIPHON_JWT_KEYS: there is no file {source}")


def _check_traces(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT must begin with http:// or https://: traces go over HTTP"
        )
    try:
        exporter = importlib.util.find_spec("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    except ModuleNotFoundError:
        exporter = None
    if exporter is None:
        raise SettingsError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, but tracing is not installed:"
            " pip install 'antiphon[otel]'"
        )


_INVISIBLE = "\ufeff\u200b"
"""Characters that copying leaves around a text and `strip` keeps: a BOM, a zero-width space."""
_FOREIGN = ("openai_", "otel_")
"""Prefixes of settings whose variables are named by other standards, without `ANTIPHON_`."""
_MULTILINE = ("jwt_secret",)
"""Settings that may contain any character, since every byte of a secret counts."""


def read_settings(environment: Mapping[str, str] | None = None, **options: object) -> Settings:
    """Return the settings of the environment, overridden by the options of the command line.

    Blanks and quotes around a value are removed, and an empty value counts as not set. Raises
    `SettingsError` for a value that is malformed or unsafe.
    """
    environment = os.environ if environment is None else environment
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        prefix = "" if field.name.startswith(_FOREIGN) else "ANTIPHON_"
        variable = prefix + field.name.upper()
        text = _bare(environment.get(variable, ""))
        if text:
            is_list = isinstance(field.default, tuple)
            parts = [_bare(part) for part in text.split(",")] if is_list else [text]
            if field.name not in _MULTILINE:
                _check_characters(variable, parts)
            values[field.name] = [part for part in parts if part] if is_list else text
    values.update({name: value for name, value in options.items() if value not in (None, ())})
    try:
        return msgspec.convert(values, Settings, strict=False).check()
    except msgspec.ValidationError as error:
        raise SettingsError(f"settings: {error}") from None


def _bare(text: str) -> str:
    """Return a value without the blanks and quotes that shells, files and web pages add."""
    text = text.strip().strip(_INVISIBLE).strip()
    for quote in "\"'":
        if text == f"{quote}{text[1:-1]}{quote}" and quote not in text[1:-1]:
            return _bare(text[1:-1])
    return text


def _check_characters(variable: str, parts: list[str]) -> None:
    """Raise `SettingsError` for control characters, and for a key that no HTTP header can carry.

    The value is never quoted: it may be a secret.
    """
    for part in parts:
        if any(ord(character) < 32 or character == "\x7f" for character in part):
            raise SettingsError(f"{variable} has a line break or another control character inside")
        if variable.endswith("_API_KEY") and not part.isascii():
            raise SettingsError(f"{variable} has characters inside that no key has")
