"""Settings: where they come from, and which are refused as unsafe."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.settings import SECRET_BYTES, Settings, SettingsError, is_loopback, read_settings
from antiphon.orchestrator.models import chat_model

SECRET = "s" * SECRET_BYTES


def test_without_an_environment_it_serves_this_machine_only_and_without_login() -> None:
    settings = read_settings({})
    assert (settings.host, settings.port, settings.model, settings.auth_on) == (
        "127.0.0.1",
        8000,
        "offline",
        False,
    )


def test_every_setting_is_read_from_its_own_variable() -> None:
    settings = read_settings(
        {
            "ANTIPHON_HOST": "::1",
            "ANTIPHON_PORT": "9000",
            "ANTIPHON_DATABASE_URL": "sqlite:///x.db",
            "ANTIPHON_AUTH": "jwt",
            "ANTIPHON_JWT_SECRET": SECRET,
            "ANTIPHON_JWT_AUDIENCE": "aud",
            "ANTIPHON_JWT_ISSUER": "iss",
            "ANTIPHON_JWT_ALGORITHM": "HS512",
            "ANTIPHON_MODEL": "openai:m",
            "ANTIPHON_LEASE_SECONDS": "2.5",
            "ANTIPHON_MAX_ATTEMPTS": "5",
            "ANTIPHON_LOG_LEVEL": "debug",
            "ANTIPHON_ORIGINS": "https://a.example, https://b.example,",
            "OPENAI_API_KEY": "sk-1",
            "OPENAI_BASE_URL": "http://model",
        }
    )
    assert settings == Settings(
        host="::1",
        port=9000,
        database_url="sqlite:///x.db",
        auth="jwt",
        jwt_secret=SECRET,
        jwt_audience="aud",
        jwt_issuer="iss",
        jwt_algorithm="HS512",
        model="openai:m",
        lease_seconds=2.5,
        max_attempts=5,
        log_level="debug",
        origins=("https://a.example", "https://b.example"),
        openai_api_key="sk-1",
        openai_base_url="http://model",
    )


def test_the_command_line_counts_more_than_the_environment() -> None:
    assert (
        read_settings({"ANTIPHON_PORT": "1", "ANTIPHON_MODEL": "offline"}, port=2, model=None).port
        == 2
    )


def test_an_empty_variable_is_none() -> None:
    assert read_settings({"ANTIPHON_JWT_SECRET": "", "ANTIPHON_PORT": ""}) == read_settings({})


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.1", "example.com", "", " ", "127.0.0.1.evil.example"]
)
def test_it_refuses_to_listen_to_others_without_authentication(host: str) -> None:
    for settings in (Settings(host=host), Settings(host=host, auth="off", jwt_secret=SECRET)):
        with pytest.raises(SettingsError, match="ANTIPHON_JWT_SECRET"):
            settings.check()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost"])
def test_it_listens_to_this_machine_without_authentication(host: str) -> None:
    assert not Settings(host=host).check().auth_on


@given(st.ip_addresses())
def test_loopback_is_what_the_address_says(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    assert is_loopback(str(address)) == address.is_loopback


@pytest.mark.parametrize("secret", [None, "", "short", "s" * (SECRET_BYTES - 1)])
def test_a_missing_or_short_secret_is_refused(secret: str | None) -> None:
    with pytest.raises(SettingsError, match=str(SECRET_BYTES)):
        Settings(auth="jwt", jwt_secret=secret).check()


def test_a_short_secret_is_refused_where_it_alone_turns_authentication_on() -> None:
    with pytest.raises(SettingsError):
        read_settings({"ANTIPHON_JWT_SECRET": "short"})


def test_a_secret_is_counted_in_bytes() -> None:
    assert Settings(jwt_secret="ä" * (SECRET_BYTES // 2)).check().auth_on


def test_a_secret_turns_authentication_on_and_off_turns_it_off() -> None:
    assert Settings(jwt_secret=SECRET).auth_on
    assert not Settings(jwt_secret=SECRET, auth="off").auth_on


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ANTIPHON_PORT", "eighty"),
        ("ANTIPHON_AUTH", "maybe"),
        ("ANTIPHON_JWT_ALGORITHM", "none"),
        ("ANTIPHON_JWT_ALGORITHM", "RS256"),
        ("ANTIPHON_LOG_LEVEL", "loud"),
        ("ANTIPHON_LEASE_SECONDS", "soon"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=name.removeprefix("ANTIPHON_").lower()):
        read_settings({name: value})


@pytest.mark.parametrize("name", ["CHUNK_WORDS", "CHUNK_DELAY_MS"])
@pytest.mark.parametrize("value", ["-1", "1001"])
def test_a_pace_out_of_bounds_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"ANTIPHON_{name}"):
        read_settings({f"ANTIPHON_{name}": value})
    assert (
        read_settings(
            {"ANTIPHON_CHUNK_WORDS": "3", "ANTIPHON_CHUNK_DELAY_MS": "100"}
        ).chunk_delay_ms
        == 100
    )


def test_a_refusal_does_not_tell_secrets() -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({"ANTIPHON_JWT_SECRET": "hunter2", "OPENAI_API_KEY": "sk-hidden"})
    assert "hunter2" not in str(refused.value)
    assert "sk-hidden" not in str(refused.value)


# ------------------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "source",
    ["https://id.example/keys", "http://localhost:80/keys", "http://127.0.0.1/", "http://[::1]:1/"],
)
def test_keys_turn_authentication_on_without_a_secret(source: str) -> None:
    settings = read_settings({"ANTIPHON_JWT_KEYS": source, "ANTIPHON_HOST": "0.0.0.0"})
    assert settings.auth_on
    assert not Settings(jwt_keys=source, auth="off").auth_on


@pytest.mark.parametrize(
    "source",
    [
        "http://id.example/keys",
        "http://localhost.evil.example/",
        "ftp://localhost/keys",
        "file:///etc/passwd",
        "https://",
        "http://[::1",
        "missing.json",
        "/",
    ],
)
def test_keys_that_cannot_be_trusted_or_found_are_refused(source: str) -> None:
    with pytest.raises(SettingsError, match="ANTIPHON_JWT_KEYS"):
        read_settings({"ANTIPHON_JWT_KEYS": source})


def test_a_short_secret_is_refused_beside_keys_too() -> None:
    with pytest.raises(SettingsError, match="ANTIPHON_JWT_SECRET"):
        read_settings({"ANTIPHON_JWT_KEYS": "https://id.example/", "ANTIPHON_JWT_SECRET": "short"})


# ------------------------------------------------------------------------------------------- dirt

DIRT = ["{}\n", "  {}\t", '"{}"', "'{}'", " '\"{}\"' \r\n", "\ufeff{}", "\u200b{} "]
VALUES = {
    "ANTIPHON_HOST": "::1",
    "ANTIPHON_PORT": "9000",
    "ANTIPHON_DATABASE_URL": "sqlite:///a b.db",
    "ANTIPHON_AUTH": "jwt",
    "ANTIPHON_JWT_SECRET": SECRET,
    "ANTIPHON_JWT_KEYS": "https://id.example/keys",
    "ANTIPHON_JWT_AUDIENCE": "aud",
    "ANTIPHON_MODEL": "openai:m",
    "ANTIPHON_LEASE_SECONDS": "2.5",
    "ANTIPHON_ORIGINS": "https://a.example",
    "ANTIPHON_GRAPHS": "x.py:graph",
    "OPENAI_API_KEY": "sk-1",
    "OPENAI_BASE_URL": "http://model/v1",
    "OTEL_SERVICE_NAME": "mine",
}


@pytest.mark.parametrize("dirt", DIRT, ids=ascii)
def test_blanks_and_quotes_around_are_no_part_of_a_setting(dirt: str) -> None:
    dirty = {name: dirt.format(value) for name, value in VALUES.items()}
    assert read_settings(dirty) == read_settings(VALUES)
    assert read_settings({name: dirt.format("") for name in VALUES}) == read_settings({})


def test_each_part_of_a_list_is_cleaned() -> None:
    settings = read_settings({"ANTIPHON_HOSTS": "'a.example' ,\n\"b.example\",, ''"})
    assert settings.hosts == ("a.example", "b.example")


@pytest.mark.parametrize("name", [name for name in VALUES if name != "ANTIPHON_JWT_SECRET"])
@pytest.mark.parametrize("inside", ["\n", "\r\n", "\t", "\0"], ids=ascii)
def test_a_line_break_inside_is_refused_by_name_without_the_value(name: str, inside: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_settings({name: f"hidden{inside}value"})
    message = str(refused.value)
    assert name in message
    assert "hidden" not in message
    assert "\n" not in message


def test_an_address_of_a_model_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        read_settings({"OPENAI_BASE_URL": "localhost:8000/v1"})


async def test_an_empty_address_of_a_model_is_openai_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The client's library reads the environment too, and would take the quotes for an address."""
    monkeypatch.setenv("OPENAI_BASE_URL", '""')
    settings = read_settings({"OPENAI_BASE_URL": '""'})
    model = chat_model("openai:m", base_url=settings.openai_base_url)
    assert model.root_async_client.base_url == "https://api.openai.com/v1/"
    await model.root_async_client.close()


def test_a_key_that_no_header_can_carry_is_refused_by_name() -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY") as refused:
        read_settings({"OPENAI_API_KEY": "sk-hidden…"})
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("NODE_THREADS", "0"),
        ("LEASE_SECONDS", "0"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("DRAIN_SECONDS", "inf"),
        ("BODY_BYTES", "-1"),
        ("RUN_TOKENS", "-5"),
    ],
)
def test_a_number_that_nothing_can_work_with_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"ANTIPHON_{name}"):
        read_settings({f"ANTIPHON_{name}": value})
