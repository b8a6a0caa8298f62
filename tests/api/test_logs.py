"""What stands in the log, and what never does."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api.logs import Redacted, Structured
from tests.support.server import token

SECRETS = st.text("abcdefghijklmnopqrstuvwxyzABCDEF0123456789-_.", min_size=8, max_size=60)
FORMATTERS = [Redacted("%(levelname)s %(name)s %(message)s"), Structured()]


def line(formatter: logging.Formatter, message: str, *args: object, **extra: object) -> str:
    record = logging.getLogger("test").makeRecord(
        "test", logging.INFO, "f", 1, message, args, None, extra=extra
    )
    return formatter.format(record)


@given(
    SECRETS,
    st.sampled_from(["token={}", "?token={}&x=1", "ticket={}", "Bearer {}", "bearer.{}", "sk-{}"]),
)
def test_a_secret_is_taken_out_wherever_it_stands(secret: str, form: str) -> None:
    written = form.format(f"SECRET{secret}")
    for formatter in FORMATTERS:
        for text in (
            line(formatter, written),
            line(formatter, "got %s here", written),
            line(formatter, "x", at=written),
        ):
            assert "SECRET" not in text
            assert "[redacted]" in text


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_uvicorns_own_line_loses_its_token(formatter: logging.Formatter) -> None:
    text = line(
        formatter,
        '%s - "WebSocket %s" [accepted]',
        "127.0.0.1:1",
        f"/ws/chat?token={token()}&session=s",
    )
    assert token().split(".")[1] not in text
    assert "/ws/chat?token=[redacted]" in text
    assert "session=s" in text


def test_what_is_no_secret_stays() -> None:
    text = line(FORMATTERS[0], "a run continues", run_id="r-1", user="ada")
    assert text == "INFO test a run continues run_id=r-1 user=ada"


def test_an_entry_for_machines_is_json() -> None:
    entry = json.loads(line(FORMATTERS[1], "a run %s", "continues", run_id="r-1"))
    assert (entry["message"], entry["run_id"], entry["level"], entry["logger"]) == (
        "a run continues",
        "r-1",
        "info",
        "test",
    )


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_an_exception_is_told_by_type_and_place_without_its_text(
    formatter: logging.Formatter,
) -> None:
    def broken() -> None:
        raise ValueError("the user's own words")

    try:
        broken()
    except ValueError:
        record = logging.getLogger("test").makeRecord(
            "test", 40, "f", 1, "it broke", (), sys.exc_info()
        )
    text = formatter.format(record)
    assert "ValueError" in text
    assert "broken" in text
    assert "the user's own words" not in text.replace(
        'raise ValueError("the user\'s own words")', ""
    ).replace('raise ValueError(\\"the user\'s own words\\")', "")


def test_a_line_for_machines_is_one_line() -> None:
    assert "\n" not in line(FORMATTERS[1], "one\ntwo", path="/a\nb")


def test_a_line_for_people_is_one_line() -> None:
    assert "\n" not in line(
        FORMATTERS[0], "refused %s", "/a\nERROR forged", path="/b\nERROR forged"
    )


def failure() -> logging.LogRecord:
    """A record of an exception that another one has caused; both quote the user."""
    key, words = "the user's own key", "the user's own words"
    try:
        try:
            raise KeyError(key)
        except KeyError as error:
            raise ValueError(words) from error
    except ValueError:
        return logging.getLogger("test").makeRecord(
            "test", 40, "f", 1, "it broke", (), sys.exc_info()
        )


@pytest.mark.parametrize("formatter", FORMATTERS)
def test_the_causes_of_an_exception_are_named(formatter: logging.Formatter) -> None:
    text = formatter.format(failure())
    assert "ValueError, caused by KeyError" in text
    assert "own" not in text


@pytest.mark.parametrize("formatter", [Redacted("%(message)s", texts=True), Structured(texts=True)])
def test_at_debug_the_texts_of_the_whole_chain_are_written(formatter: logging.Formatter) -> None:
    text = formatter.format(failure())
    assert "the user's own words" in text
    assert "the user's own key" in text


def test_a_chain_that_never_ends_is_cut() -> None:
    error = ValueError("a")
    for _ in range(100):
        error = _caused(error)
    record = logging.getLogger("test").makeRecord(
        "test", 40, "f", 1, "m", (), (ValueError, error, None)
    )
    assert FORMATTERS[0].format(record).count("ValueError") <= 8


def _caused(cause: BaseException) -> ValueError:
    error = ValueError("b")
    error.__cause__ = cause
    return error
