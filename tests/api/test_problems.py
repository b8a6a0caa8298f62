"""The one tree of errors, and the one table of their codes."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from antiphon.api.problems import CODES, Problem
from antiphon.api.services import as_problem
from antiphon.data.errors import AntiphonError, Fenced, NotFound, StorageError
from antiphon.orchestrator import errors
from antiphon.orchestrator.budget import BudgetExceeded
from antiphon.orchestrator.flows.definition import FlowInvalid, FlowProblem
from antiphon.orchestrator.flows.nodes import FlowFailed


def below(error: type[AntiphonError], depth: int = 0) -> Iterator[tuple[type[AntiphonError], int]]:
    """The product's errors below one, each with its depth, as they were defined."""
    for kind in error.__subclasses__():
        if kind.__module__.startswith("antiphon."):
            yield kind, depth
            yield from below(kind, depth + 1)


TREE = list(below(AntiphonError))


def test_the_tree_is_drawn_as_it_is() -> None:
    assert {BudgetExceeded, FlowFailed, FlowInvalid, Problem} <= {kind for kind, _ in TREE}
    drawn = [line for line in (errors.__doc__ or "").splitlines() if "── " in line]
    names = {(line.split("── ")[1].split()[0], line.index("── ") // 4) for line in drawn}
    assert names == {(kind.__name__, depth) for kind, depth in TREE}
    assert len(drawn) == len(names)


def test_modules_that_the_drawing_names_are_right() -> None:
    where = {kind.__name__: kind.__module__ for kind, _ in TREE}
    for line in (errors.__doc__ or "").splitlines():
        name, *module = line.split("── ")[-1].split() if "── " in line else [""]
        assert not module or [where[name]] == module


@pytest.mark.parametrize(
    "error", [kind for kind, _ in TREE if kind is not Problem], ids=lambda one: one.__name__
)
def test_every_error_has_a_place_in_the_table_and_a_sentence(error: type[AntiphonError]) -> None:
    assert error.code in errors.CODES
    assert error.message.endswith(".")


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


def test_what_the_database_says_of_itself_is_logged_and_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    error = StorageError("cannot open /srv/secret.db: disk I/O error")
    with caplog.at_level(logging.ERROR):
        problem = as_problem(error)
    assert str(error) == "cannot open /srv/secret.db: disk I/O error"
    assert (problem.code, problem.status, problem.message) == (
        "UNAVAILABLE",
        503,
        StorageError.message,
    )
    assert caplog.records[0].exc_info is not None
    assert caplog.records[0].exc_info[1] is error


@pytest.mark.parametrize(
    ("error", "code"), [(NotFound("thread-1"), "NOT_FOUND"), (Fenced("run-1"), "UNAVAILABLE")]
)
def test_an_id_that_a_storage_error_carries_is_not_told(error: StorageError, code: str) -> None:
    problem = as_problem(error)
    assert (problem.code, "-1" in problem.message) == (code, False)


def test_all_mistakes_of_a_flow_are_told_with_their_places() -> None:
    problem = as_problem(
        FlowInvalid([FlowProblem(code="WRONG_TYPE", message="No.", path="/nodes")])
    )
    assert (problem.code, problem.status) == ("FLOW_INVALID", 422)
    assert problem.details == [{"code": "WRONG_TYPE", "message": "No.", "path": "/nodes"}]
