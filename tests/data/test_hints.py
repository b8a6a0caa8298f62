"""Hints wake exactly the watchers of a thread, and are forgotten only by `clear`."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from antiphon.data.hints import Hints
from tests.support.deadline import DEADLINE

THREADS = st.sampled_from("abc")
STEPS = st.one_of(
    st.tuples(st.just("notify"), st.lists(THREADS)), st.tuples(st.just("clear"), st.integers(0, 5))
)


def is_awake(watch) -> bool:
    """Whether `wait` would return at once: the coroutine ends at its first step."""
    waiting = watch.wait()
    try:
        waiting.send(None)
    except StopIteration:
        return True
    finally:
        waiting.close()
    return False


@given(st.lists(THREADS, max_size=6), st.lists(STEPS))
def test_a_watch_is_awake_exactly_when_its_thread_was_hinted_at_since_clear(watched, steps):
    async def check() -> None:
        hints = Hints()
        managers = [hints.watch(thread) for thread in watched]
        watches = [manager.__enter__() for manager in managers]
        awake = [False] * len(watched)
        for step, argument in steps:
            if step == "notify":
                hints.notify(argument)
                awake = [
                    known or thread in argument
                    for known, thread in zip(awake, watched, strict=True)
                ]
            elif argument < len(watches):
                watches[argument].clear()
                awake[argument] = False
            assert [is_awake(watch) for watch in watches] == awake
        for manager in managers:
            manager.__exit__(None, None, None)

    asyncio.run(check())


async def test_one_hint_wakes_all_waiters_of_a_thread():
    hints = Hints()
    with hints.watch("a") as one, hints.watch("a") as other:
        waiting = [asyncio.create_task(watch.wait()) for watch in (one, other)]
        await asyncio.sleep(0)
        hints.notify(["a"])
        await asyncio.wait_for(asyncio.gather(*waiting), DEADLINE)


async def test_a_hint_between_clear_and_wait_is_not_lost():
    hints = Hints()
    with hints.watch("a") as watch:
        watch.clear()
        hints.notify(["a"])
        await asyncio.wait_for(watch.wait(), DEADLINE)


async def test_notify_all_wakes_every_thread():
    hints = Hints()
    with hints.watch("a") as one, hints.watch("b") as other:
        hints.notify_all()
        assert is_awake(one)
        assert is_awake(other)


async def test_a_watch_that_ended_hears_nothing_and_leaves_nothing_behind():
    hints = Hints()
    with hints.watch("a") as watch:
        pass
    hints.notify(["a"])
    hints.notify_all()
    assert not is_awake(watch)
    assert not hints._watches
