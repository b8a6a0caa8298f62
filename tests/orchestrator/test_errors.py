"""Failures are told in stable codes and clean sentences."""

from __future__ import annotations

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.errors import GraphRecursionError

from antiphon.data import errors as data_errors
from antiphon.data.errors import AntiphonError
from antiphon.orchestrator import errors
from antiphon.orchestrator.errors import ModelCut, TooLarge, describe
from tests.orchestrator.support import UNHURRIED

ALL = {
    cls
    for module in (data_errors, errors)
    for cls in vars(module).values()
    if isinstance(cls, type) and issubclass(cls, AntiphonError) and "code" in vars(cls)
}


def test_codes_are_words_in_capitals_and_belong_to_one_error_each() -> None:
    codes = [cls.code for cls in ALL]
    assert len(set(codes)) == len(codes)
    assert all(code.replace("_", "").isalpha() and code.isupper() for code in codes)
    assert all(cls.message.endswith(".") for cls in ALL)


def test_an_error_says_its_own_sentence_or_a_given_one() -> None:
    assert str(TooLarge()) == TooLarge.message
    assert (str(TooLarge("So large.")), TooLarge("So large.").message) == ("So large.", "So large.")


@UNHURRIED
@given(
    st.text(min_size=1),
    st.sampled_from([ValueError, KeyError, OSError, RuntimeError, ExceptionGroup]),
)
def test_the_text_of_a_foreign_exception_is_never_told(text: str, kind: type[Exception]) -> None:
    error = ExceptionGroup(text, [ValueError(text)]) if kind is ExceptionGroup else kind(text)
    assert describe(error) == ("AGENT_FAILED", "An agent failed.", False)


def http_error(cls: type[openai.APIStatusError], status: int) -> openai.APIStatusError:
    import httpx2

    response = httpx2.Response(status, request=httpx2.Request("POST", "http://127.0.0.1/"))
    return cls("sk-secret", response=response, body=None)


@pytest.mark.parametrize(
    ("error", "code", "retryable"),
    [
        (http_error(openai.RateLimitError, 429), "MODEL_RATE_LIMITED", True),
        (http_error(openai.InternalServerError, 503), "MODEL_UNAVAILABLE", True),
        (http_error(openai.AuthenticationError, 401), "MODEL_AUTH", False),
        (http_error(openai.PermissionDeniedError, 403), "MODEL_AUTH", False),
        (http_error(openai.NotFoundError, 404), "MODEL_NOT_FOUND", False),
        (http_error(openai.BadRequestError, 400), "MODEL_REFUSED", False),
        (GraphRecursionError("60"), "RECURSION_LIMIT", False),
        (ModelCut(), "MODEL_CUT", True),
        (TooLarge("9 is too much."), "TOO_LARGE", False),
    ],
)
def test_known_failures_have_their_own_codes(error: Exception, code: str, retryable: bool) -> None:
    failure = describe(error)
    assert (failure.code, failure.retryable) == (code, retryable)
    assert "secret" not in failure.message


def test_a_subclass_is_told_like_its_parent() -> None:
    class Special(msgspec.DecodeError, ModelCut):
        pass

    assert describe(Special()).code == "MODEL_CUT"
