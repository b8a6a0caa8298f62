"""Flows, profiles, and what a thread's run leaves for the next one."""

from __future__ import annotations

import msgspec
import pytest

from antiphon.data import reads, transactions
from antiphon.data.errors import Busy, NotFound
from antiphon.data.ids import new_id
from antiphon.data.records import Fence, GraphState, Thread
from tests.data.support import acceptance, notes


async def test_every_save_is_a_revision_and_the_newest_is_the_draft(database):
    await database.write(transactions.save_flow, "f", "ada", b"one", 1)
    flow = await database.write(transactions.save_flow, "f", "ada", b"two", 2)
    assert (flow.draft, flow.published, flow.created_at, flow.updated_at) == (2, None, 1, 2)
    assert await database.fetch(reads.flow_revision, "f", 1) == b"one"
    assert await database.fetch(reads.flow_revision, "f", 2) == b"two"
    assert await database.fetch(reads.flow_revision, "f", 3) is None


async def test_what_is_published_stays_while_the_draft_moves_on(database):
    await database.write(transactions.save_flow, "f", "ada", b"one", 1)
    assert (await database.write(transactions.publish_flow, "f", "ada", 2)).published == 1
    flow = await database.write(transactions.save_flow, "f", "ada", b"two", 3)
    assert (flow.draft, flow.published) == (2, 1)
    assert (
        await database.write(transactions.publish_flow, "f", "ada", 4, published=False)
    ).published is None


async def test_a_flow_is_its_owners(database):
    await database.write(transactions.save_flow, "f", "ada", b"one", 1)
    for attempt in (
        database.write(transactions.save_flow, "f", "eve", b"mine", 2),
        database.write(transactions.publish_flow, "f", "eve", 2),
        database.write(transactions.delete_flow, "f", "eve"),
        database.write(transactions.publish_flow, "none", "ada", 2),
    ):
        with pytest.raises(NotFound):
            await attempt
    assert [flow.agent_id for flow in await database.fetch(reads.flows_of, "ada")] == ["f"]
    assert await database.fetch(reads.flows_of, "eve") == []


async def test_a_deleted_flow_is_gone_but_its_revisions_are_never_numbered_again(database):
    assert not await database.fetch(reads.any_flow)
    await database.write(transactions.save_flow, "f", "ada", b"one", 1)
    assert not await database.fetch(reads.any_flow), "a draft is nobody else's business"
    await database.write(transactions.publish_flow, "f", "ada", 1)
    assert await database.fetch(reads.any_flow)
    await database.write(transactions.delete_flow, "f", "ada")
    assert await database.fetch(reads.flow, "f") is None
    assert (await database.write(transactions.save_flow, "f", "eve", b"other", 2)).draft == 2
    assert await database.fetch(reads.flow_revision, "f", 1) == b"one"


async def test_a_profile_is_kept_changed_and_forgotten(database):
    assert await database.fetch(reads.profile, "ada") is None
    await database.write(transactions.save_profile, "ada", b"first", 1)
    await database.write(transactions.save_profile, "ada", b"second", 2)
    assert await database.fetch(reads.profile, "ada") == b"second"
    assert await database.fetch(reads.profile, "eve") is None
    await database.write(transactions.save_profile, "ada", None, 3)
    assert await database.fetch(reads.profile, "ada") is None


async def test_a_runs_end_leaves_a_state_for_the_threads_next_run(database):
    run = (await database.write(transactions.accept, acceptance(worker=database.worker_id))).run
    assert await database.fetch(reads.thread_state, run.thread_id) == b""
    for number, state, kept in (
        (1, b"step two", b"step two"),
        (2, None, b"step two"),
        (3, b"", b""),
    ):
        if number > 1:
            again = acceptance(worker=database.worker_id, thread_id=run.thread_id)
            run = (await database.write(transactions.accept, again)).run
        fence = Fence(run_id=run.id, epoch=run.lease_epoch)
        end = notes(1, "end")
        await database.write(
            transactions.finish,
            fence,
            run.emitted,
            end,
            status="completed",
            message=None,
            result=b"",
            state=state,
        )
        assert await database.fetch(reads.thread_state, run.thread_id) == kept


async def test_a_thread_can_be_made_before_its_first_message(database):
    thread = Thread(
        id=new_id(),
        user_id="ada",
        title="Plans",
        created_at=1,
        updated_at=1,
        last_seq=0,
        head_message_id=None,
    )
    await database.write(transactions.create_thread, thread)
    assert await database.fetch(reads.thread, thread.id) == thread
    await database.write(
        transactions.create_thread,
        msgspec.structs.replace(thread, user_id="eve", title="Other plans"),
    )
    assert await database.fetch(reads.thread, thread.id) == thread, (
        "one that is there stays as it is"
    )
    assert (
        await database.write(transactions.accept, acceptance(thread_id=thread.id))
    ).run.thread_id == thread.id


async def test_names_of_threads_are_told_by_their_ids(database):
    runs = [
        (await database.write(transactions.accept, acceptance(thread_name=(namespace, "mine")))).run
        for namespace in ("sessions", "chat")
    ]
    assert await database.fetch(reads.thread_names, runs[0].user_id, "sessions") == {
        runs[0].thread_id: "mine"
    }
    assert await database.fetch(reads.thread_names, "eve", "sessions") == {}


async def test_open_runs_are_told_the_newest_first(database):
    run = (await database.write(transactions.accept, acceptance(worker=database.worker_id))).run
    queued = (await database.write(transactions.accept, acceptance(thread_id=run.thread_id))).run
    assert [one.id for one in await database.fetch(reads.open_runs, run.thread_id)] == [
        queued.id,
        run.id,
    ]
    fence = Fence(run_id=run.id, epoch=run.lease_epoch)
    await database.write(
        transactions.finish,
        fence,
        run.emitted,
        notes(1, "end"),
        status="completed",
        message=None,
        result=b"",
    )
    assert [one.id for one in await database.fetch(reads.open_runs, run.thread_id)] == [queued.id]


async def test_a_deleted_thread_leaves_nothing(database, outside):
    accepted = await database.write(
        transactions.accept,
        acceptance(
            worker=database.worker_id, thread_name=("chat", "mine"), idempotency=("key", b"digest")
        ),
    )
    run = accepted.run
    with pytest.raises(Busy):
        await database.delete_thread(run.thread_id)
    fence = Fence(run_id=run.id, epoch=run.lease_epoch)
    end = notes(1, "end")
    left = {
        "state": b"left",
        "graph_state": GraphState(graph="team", message_id=run.reply_message_id, value=b"left"),
    }
    await database.write(
        transactions.finish,
        fence,
        run.emitted,
        end,
        status="completed",
        message=None,
        result=b"",
        **left,
    )
    await database.delete_thread(run.thread_id)
    assert await database.read(run.thread_id, 0, 10) == []
    states = ("thread_states", "graph_states")
    for table in ("threads", "thread_names", *states, "messages", "runs", "events", "requests"):
        assert outside.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
