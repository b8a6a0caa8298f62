"""Errors of a database: what is for the log never reaches a caller."""

from __future__ import annotations

import pytest

from antiphon.data.errors import AntiphonError, Busy, NotFound, Refused, StorageError


def test_a_detail_is_for_the_log_only() -> None:
    error = StorageError("cannot open /srv/secret.db")
    assert str(error) == "cannot open /srv/secret.db"
    assert error.message == StorageError.message
    assert str(StorageError()) == StorageError.message


@pytest.mark.parametrize("refusal", [NotFound, Busy])
def test_a_refusal_shows_its_message_and_keeps_what_it_is_about(refusal: type[Refused]) -> None:
    error = refusal("thread 7")
    assert str(error) == error.message == refusal.message
    assert error.args == ("thread 7",)


def test_every_error_can_be_shown() -> None:
    assert isinstance(Busy("x"), AntiphonError)
    assert AntiphonError("a text").message == str(AntiphonError("a text")) == "a text"
