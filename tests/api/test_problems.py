"""The one table of errors."""

from __future__ import annotations

import pytest

from antiphon.api.problems import CODES, Problem
from antiphon.api.services import as_problem
from antiphon.orchestrator import errors
from antiphon.orchestrator.errors import AntiphonError

ENDS = {"MODEL_CUT", "CRASH_LOOP", "CRASHED", "BUDGET_EXCEEDED", "RUN_TIMEOUT", "NO_ANSWER"}
ENDS |= {"STATE_NOT_STORABLE", "STATE_TOO_LARGE", "SYNC_IN_ASYNC"}
"""Codes that end runs: they come as recorded events, never as an answer to a request."""
ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, AntiphonError)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda one: one.__name__)
def test_every_error_that_a_request_can_meet_has_a_place_in_the_table(error: type[AntiphonError]) -> None:
    assert error.code in CODES or error.code in ENDS
    assert error().message.endswith(".")


@pytest.mark.parametrize("code", CODES)
def test_codes_are_answered_with_errors_that_websockets_know(code: str) -> None:
    answer = CODES[code]
    assert 400 <= answer.status < 600
    assert answer.close is None or answer.close in {1009, 1011, 1013} or 4400 <= answer.close < 4500


def test_an_unknown_error_tells_nothing_of_itself() -> None:
    problem = as_problem(ValueError("SELECT secret FROM /etc/passwd"))
    assert (problem.code, problem.status) == ("INTERNAL", 500)
    assert "secret" not in problem.message


def test_an_unknown_code_is_an_error_of_ours() -> None:
    assert Problem("NEVER_SEEN", "x").status == 500
