"""Cursors, and the body of an SSE response."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.api import sse
from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Frame
from antiphon.api.problems import Problem
from antiphon.api.streams import START, Cursor, Framer, Frames, read_cursor, sse_body
from antiphon.orchestrator.events import Recorded
from tests.api.dialects.samples import EVERYTHING, FAILED, recorded


class Numbered(msgspec.Struct):
    n: int


async def some_frames(*lists: Frames | None) -> AsyncIterator[Frames | None]:
    for one in lists:
        yield one


def frame(number: int) -> tuple[str, Frame]:
    return f"r:{number}.0", Frame(data=Numbered(number), event="e")


@given(st.uuids(), st.integers(0, 10**15 - 1), st.integers(0, 10**6 - 1))
def test_a_cursor_survives_the_wire(run: object, seq: int, k: int) -> None:
    assert read_cursor(f"{run}:{seq}.{k}") == Cursor(str(run), seq, k)


@given(st.text())
def test_any_other_text_is_gone(text: str) -> None:
    with pytest.raises(Problem) as gone:
        read_cursor(text)
    assert gone.value.code == "CURSOR_GONE"


RUN = "01900000-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    "text", ["", ":1.0", f"{RUN}:1", f"{RUN}:1.0 x", f"{RUN}:-1.0", "x" * 10**6]
)
def test_almost_a_cursor_is_gone(text: str) -> None:
    with pytest.raises(Problem):
        read_cursor(text)


def test_a_cursor_of_no_run_is_a_cursor() -> None:
    assert read_cursor("-:7.0") == Cursor("-", 7, 0)


def test_runs_that_stand_mixed_in_a_thread_are_folded_apart() -> None:
    one, other = recorded(EVERYTHING), recorded(FAILED)
    mixed: list[Recorded] = []
    for index in range(max(len(one), len(other))):
        for run_id, events in (("a", one), ("b", other)):
            if index < len(events):
                event = events[index].event
                seq = len(mixed) + 1
                mixed.append(
                    Recorded(thread_id="t", seq=seq, run_id=run_id, attempt=1, at=seq, event=event)
                )
    for dialect in DIALECTS.values():
        together = Framer(dialect, START).frames(mixed)
        for run_id in "ab":
            alone = Framer(dialect, START).frames([r for r in mixed if r.run_id == run_id])
            assert [f for f in together if f[0].startswith(run_id)] == alone


def test_a_thread_of_a_thousand_runs_keeps_no_fold_of_those_that_ended() -> None:
    framer = Framer(DIALECTS["chat"], START)
    for number in range(1000):
        framer.frames(
            [
                Recorded(
                    thread_id="t", seq=1, run_id=f"{number}", attempt=1, at=1, event=EVERYTHING[-1]
                )
            ]
        )
    assert not framer._folds


async def test_the_first_event_says_how_long_to_wait_before_reconnecting() -> None:
    pieces = [piece async for piece in sse_body(some_frames([], [frame(1)], [frame(2), frame(3)]))]
    assert pieces[0] == sse.OPEN
    assert pieces[1].startswith(b"retry: 2000\nevent: e\nid: r:1.0\n")
    assert pieces[2].count(b"data: ") == 2, "events that are there at once go out together"
    assert b"retry" not in pieces[2]
    assert len(pieces) == 3


async def test_a_tick_is_a_heartbeat_with_one_newline() -> None:
    pieces = [piece async for piece in sse_body(some_frames(None, [frame(1)], None))]
    assert pieces[1] == pieces[3] == b": hb\n"


async def test_only_every_nth_tick_is_a_heartbeat() -> None:
    pieces = [piece async for piece in sse_body(some_frames(*[None] * 6), ticks=3)]
    assert pieces[1:] == [sse.HEARTBEAT] * 2


async def test_a_reader_who_may_not_read_any_more_gets_nothing_more() -> None:
    answers = iter([True, False])
    pieces = [
        piece
        async for piece in sse_body(
            some_frames([frame(1)], [frame(2)]), may_read=lambda: next(answers)
        )
    ]
    assert b"".join(pieces).count(b"data: ") == 1


async def seconds_of(*lists: Frames | None) -> tuple[float, list[bytes]]:
    clock = asyncio.get_running_loop().time
    begun = clock()
    pieces = [piece async for piece in sse_body(some_frames(*lists))]
    return clock() - begun, pieces


def paced(number: int, pause: int) -> tuple[str, Frame]:
    return f"r:{number}.0", Frame(data=Numbered(number), pause=pause)


async def test_frames_with_a_pause_keep_a_distance_and_others_do_not_wait() -> None:
    took, pieces = await seconds_of(
        [frame(1), paced(2, 30), paced(3, 30)], [], [paced(4, 30), frame(5)], None
    )
    assert 0.06 <= took < 5
    assert [piece.count(b"data: ") for piece in pieces] == [0, 1, 1, 1, 2, 0]


async def test_a_single_frame_with_a_pause_waits_for_nothing() -> None:
    took, _ = await seconds_of([frame(1), paced(2, 60_000), frame(3)])
    assert took < 5


async def test_a_reader_who_may_not_read_any_more_is_not_paced_to_the_end() -> None:
    answers = iter([True, True, False])
    frames = some_frames([paced(number, 1) for number in range(100)])
    pieces = [piece async for piece in sse_body(frames, may_read=lambda: next(answers))]
    assert b"".join(pieces).count(b"data: ") == 1


async def test_a_pause_ends_with_its_reader() -> None:
    body = sse_body(some_frames([paced(1, 60_000), paced(2, 60_000)]))
    pieces = [await anext(body), await anext(body)]
    assert b"data: " in pieces[1]
    waiting = asyncio.ensure_future(anext(body))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_server_in_a_hurry_makes_no_pauses() -> None:
    hurry = iter([False, True, True])
    frames = some_frames([paced(1, 60_000), paced(2, 60_000), paced(3, 60_000)])
    async with asyncio.timeout(50):
        pieces = [piece async for piece in sse_body(frames, in_a_hurry=lambda: next(hurry))]
    assert b"".join(pieces).count(b"data: ") == 3
