"""Token buckets and counts, by a clock that the test holds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.limits import Bucket, Limits
from api.problems import Problem
from api.settings import Settings

SECRET = "s" * 40


class Clock:
    """Time that passes when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def limits(clock: Clock, **given: int) -> Limits:
    return Limits(Settings(jwt_secret=SECRET, **given), clock)


@given(st.lists(st.floats(0, 3), max_size=60), st.floats(0.5, 10), st.integers(1, 10))
def test_a_bucket_never_lets_through_more_than_its_rate_and_burst(waits: list[float], rate: float, burst: int) -> None:
    bucket, now, taken = Bucket(rate, burst, 0.0), 0.0, 0
    for wait in waits:
        now += wait
        taken += bucket.take(now) == 0
        assert taken <= burst + now * rate + 1e-6


def test_who_waits_as_long_as_told_is_let_in() -> None:
    clock = Clock()
    some = limits(clock, requests_per_minute=6)
    some.request("user", "ada")
    with pytest.raises(Problem) as refused:
        some.request("user", "ada")
    assert refused.value.code == "RATE_LIMITED"
    assert refused.value.retry_after is not None
    clock.now += refused.value.retry_after
    some.request("user", "ada")


def test_one_user_does_not_use_up_anothers_requests() -> None:
    some = limits(Clock(), requests_per_minute=6)
    some.request("user", "ada")
    some.request("user", "ben")


def test_zero_is_no_limit_and_without_authentication_there_is_none() -> None:
    for some in (limits(Clock(), requests_per_minute=0), Limits(Settings(requests_per_minute=1), Clock())):
        for _ in range(1000):
            some.request("user", "ada")


def test_streams_are_counted_while_they_are_open() -> None:
    some = limits(Clock(), connections_per_user=1)
    some.check_connections("ada")
    with some.connection("ada"):
        with pytest.raises(Problem):
            some.check_connections("ada")
        some.check_connections("ben")
    some.check_connections("ada")


def test_sockets_without_a_login_are_counted_together() -> None:
    some = limits(Clock(), anonymous_sockets=1)
    with some.anonymous(), pytest.raises(Problem), some.anonymous():
        pass
    with some.anonymous():
        pass


def test_frames_of_a_connection_have_a_rate_of_their_own() -> None:
    some = limits(Clock(), frames_per_second=2)
    count, other = some.frames(), some.frames()
    for _ in range(4):
        count()
    with pytest.raises(Problem):
        count()
    other()
