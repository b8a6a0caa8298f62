"""Models behind OpenAI's protocol: real requests to a server on loopback that does what real ones
do.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from contextlib import suppress

import pytest

from antiphon.orchestrator import models
from antiphon.orchestrator.events import (
    AgentChunk,
    AgentComplete,
    AgentStart,
    Interaction,
    RunAttempt,
    RunComplete,
    RunError,
    Usage,
)
from antiphon.orchestrator.models import ATTEMPTS, chat_model
from antiphon.orchestrator.team.offline import OfflineModel
from tests.orchestrator.support import (
    asker_of,
    askers,
    begin,
    crew,
    events_of,
    of_type,
    opened,
    reach_text,
    route,
    served_team,
    shown_answer,
    spoken,
)
from tests.support.model_server import ModelRequest, ModelServer, Reply, by_turn

POWER = "What is the engine power?"
CHOSEN = {"primary": "specs"}
"""A request that needs no routing."""


def route_reason(events: list[object]) -> str | None:
    return next(event.reason for event in of_type(events, Interaction) if event.kind == "route")  # type: ignore[arg-type]


# -- by spec --------------------------------------------------------------------------------------


def test_models_are_made_by_their_spec() -> None:
    assert isinstance(chat_model("offline"), OfflineModel)
    assert chat_model("openai:gpt-4o-mini", api_key="k")._llm_type == "openai-chat"


@pytest.mark.parametrize("spec", ["", "openai", "openai:", "offline:large", "oracle:7"])
def test_a_spec_that_is_none_is_refused(spec: str) -> None:
    with pytest.raises(ValueError, match="unknown model"):
        chat_model(spec)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
async def test_an_engine_closes_the_connections_of_the_model_that_it_made(url: str) -> None:
    async with ModelServer(crew()) as server:
        async with opened(url, model="openai:gpt-4o-mini", base_url=server.base_url) as engine:
            await (await begin(engine, POWER, **CHOSEN)).wait()
        del engine
        with suppress(TimeoutError):
            await server.wait_until(lambda: server.connections_open == 0)
        left = server.connections_open
    gc.collect()
    assert left == 0


# -- streaming ------------------------------------------------------------------------------------


async def test_two_specialists_stream_at_once(url: str) -> None:
    gate = asyncio.Event()
    parts = {"specs": "The power?", "maintenance": "The oil?"}
    script = crew(
        classifier=route("specs", parts=parts),
        specs=Reply("It has 81 kW.", gate=gate, gate_at=2),
        maintenance=Reply("Every 15,000 km.", gate=gate, gate_at=1),
    )
    async with served_team(url, script) as (_, engine):
        run = await engine.start("Power and oil, please")
        await reach_text(run, "It has ", "Every ")
        gate.set()
        events = await events_of(run)
    spans = {start.span: start.agent for start in of_type(events, AgentStart)}
    texts = {spans[span]: text for span, text in spoken(events).items()}
    assert texts == {
        "specs": "It has 81 kW.",
        "maintenance": "Every 15,000 km.",
        "synthesis": "synthesis speaking.",
    }
    assert {chunk.channel for chunk in of_type(events, AgentChunk) if chunk.agent == "specs"} == {
        "draft"
    }


async def test_usage_is_recorded_as_the_model_counts_it(url: str) -> None:
    usage = {"prompt_tokens": 70, "completion_tokens": 9, "total_tokens": 79}
    async with served_team(url, crew(specs=Reply("81 kW.", usage=usage))) as (_, engine):
        events = await events_of(await begin(engine, POWER, **CHOSEN))
    counted = Usage(input_tokens=70, output_tokens=9, total_tokens=79)
    complete = next(event for event in of_type(events, AgentComplete) if event.agent == "specs")
    assert (complete.usage, complete.finish_reason, events[-1].usage) == (counted, "stop", counted)


async def test_an_answer_that_reached_its_limit_says_so(url: str) -> None:
    async with served_team(url, crew(specs=Reply("81", finish_reason="length"))) as (
        server,
        engine,
    ):
        events = await events_of(await begin(engine, POWER, **CHOSEN))
        assert server.requests[0].body["max_completion_tokens"] == 1024
    assert of_type(events, AgentComplete)[-1].finish_reason == "length"


# -- routing --------------------------------------------------------------------------------------

TOOL = Reply(tool_calls=[{"name": "route", "arguments": json.loads(route("troubleshooting"))}])
REFUSED = Reply(status=400)


def endpoint(*, formats: bool, tools: bool) -> object:
    """An endpoint that understands some of the ways to ask for an object; it routes to
    troubleshooting.
    """

    def classify(request: ModelRequest) -> Reply:
        if request.forced_tool:
            return TOOL if tools else REFUSED
        return Reply(route("troubleshooting")) if formats else REFUSED

    return crew(classifier=classify)


@pytest.mark.parametrize(
    ("formats", "tools", "requests", "primary", "reason"),
    [
        (True, True, 1, "troubleshooting", "chosen by the model"),
        (False, True, 2, "troubleshooting", "chosen by the model"),
        (False, False, 3, "specs", "nearest by words"),
    ],
)
async def test_routing_falls_back_to_what_the_endpoint_understands(
    url: str, formats: bool, tools: bool, requests: int, primary: str, reason: str
) -> None:
    async with served_team(url, endpoint(formats=formats, tools=tools)) as (server, engine):
        events = await events_of(await engine.start(POWER))
        assert askers(server) == ["classifier"] * requests + [primary]
        assert (events[-1].primary_agent, route_reason(events)) == (primary, reason)
        await (await engine.start(POWER)).wait()
        again = askers(server)[requests + 1 :]
        assert again == ([] if requests == 3 else ["classifier"]) + [primary], (
            "what it does not understand is remembered"
        )


async def test_a_way_that_nobody_tried_is_not_given_up(url: str) -> None:
    gate = asyncio.Event()

    def classify(request: ModelRequest) -> Reply:
        return TOOL if request.forced_tool else Reply(status=400, gate=gate, gate_at=-1)

    async with served_team(url, crew(classifier=classify)) as (server, engine):
        runs = [await engine.start(POWER) for _ in range(3)]
        await server.wait_requests(3)
        gate.set()
        assert [route_reason(await events_of(run)) for run in runs] == ["chosen by the model"] * 3


async def test_one_malformed_answer_does_not_end_routing_by_the_model(url: str) -> None:
    def classify(request: ModelRequest) -> Reply:
        return Reply("not JSON") if request.number < 3 else Reply(route("troubleshooting"))

    async with served_team(url, crew(classifier=classify)) as (_, engine):
        await (await engine.start(POWER)).wait()
        assert route_reason(await events_of(await engine.start(POWER))) == "chosen by the model"


async def test_a_route_to_nobody_is_decided_by_words(url: str) -> None:
    nobody = json.dumps({"primary": "gardener", "supporting": [], "confidence": 1, "parts": []})
    async with served_team(url, crew(classifier=nobody)) as (_, engine):
        events = await events_of(await engine.start(POWER))
    assert (events[-1].primary_agent, route_reason(events)) == ("specs", "nearest by words")


CHATTER = "The best specialist is the one who knows about engines. " * 16_000
"""800,000 characters of no object."""
WAYS = ["json_schema", "json_object", "tool"]


def way_of(request: ModelRequest) -> str:
    """How a request asks for an object."""
    return "tool" if request.forced_tool else str(request.body["response_format"]["type"])


def answering(way: str, text: str) -> Callable[[ModelRequest], Reply]:
    """An endpoint that understands one way, and says this in pieces of 200 characters."""
    pieces = [text[at : at + 200] for at in range(0, len(text), 200)]

    def classify(request: ModelRequest) -> Reply:
        if way_of(request) != way:
            return REFUSED
        if way == "tool":
            return Reply(tool_calls=[{"name": "route", "arguments": text}], burst=True)
        return Reply(chunks=pieces, burst=True)

    return classify


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", [32_000, 800_000])
@pytest.mark.parametrize("begin", ["", "{", '{"primary": "'])
async def test_a_model_that_chats_instead_of_routing_is_stopped(
    url: str, way: str, size: int, begin: str
) -> None:
    script = crew(classifier=answering(way, f"{begin}{CHATTER}"[:size]))
    async with served_team(url, script) as (_, engine):
        events = await events_of(await engine.start(POWER))
    assert isinstance(events[-1], RunComplete)
    assert (events[-1].primary_agent, route_reason(events)) == ("specs", "nearest by words")


async def test_the_stream_of_a_model_that_said_too_much_is_closed(url: str) -> None:
    pieces = [CHATTER[:1000]] * (models.OBJECT_CHARACTERS // 1000 + 1)
    async with served_team(url, crew(classifier=Reply(chunks=pieces, hang_after=len(pieces)))) as (
        server,
        engine,
    ):
        assert route_reason(await events_of(await engine.start(POWER))) == "nearest by words"
        assert (await server.wait_ended(0)).outcome == "closed_by_client"
        assert askers(server) == ["classifier", "specs"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "around",
    [
        "{}",
        "```json\n{}\n```",
        "Let me think: it is about faults.\n\n```\n{}\n```\nThat is my choice.",
        "So: {}!",
    ],
)
async def test_a_route_is_found_in_a_fence_and_in_prose(url: str, way: str, around: str) -> None:
    text = around.replace("{}", route("troubleshooting"))
    async with served_team(url, crew(classifier=answering(way, text))) as (_, engine):
        assert route_reason(await events_of(await engine.start(POWER))) == "chosen by the model"


async def test_routing_does_not_wait_for_a_model_for_ever(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "OBJECT_SECONDS", 0.3)
    async with served_team(url, crew(classifier=Reply("{", hang_after=1))) as (server, engine):
        events = await events_of(await engine.start(POWER))
        assert (await server.wait_ended(0)).outcome == "closed_by_client"
    assert route_reason(events) == "nearest by words"


async def test_a_model_that_reached_its_limit_is_not_asked_in_other_ways(url: str) -> None:
    script = crew(classifier=Reply("Let me think about it", finish_reason="length"))
    async with served_team(url, script) as (server, engine):
        await (await engine.start(POWER)).wait()
        assert askers(server) == ["classifier", "specs"]


LIMITS = {"max_completion_tokens", "max_tokens"}


@pytest.mark.parametrize(
    ("known", "requests"),
    [({"max_completion_tokens"}, 1), (LIMITS, 1), ({"max_tokens"}, 2), (set[str](), 3)],
)
async def test_an_endpoint_may_know_one_name_of_the_limit_or_none(
    url: str, known: set[str], requests: int
) -> None:
    def classify(request: ModelRequest) -> Reply:
        unknown = LIMITS & set(request.body) - known
        if unknown:
            return Reply(
                status=400, error=f"Unrecognized request argument supplied: {unknown.pop()}"
            )
        return Reply(route("troubleshooting"))

    async with served_team(url, crew(classifier=classify)) as (server, engine):
        assert route_reason(await events_of(await engine.start(POWER))) == "chosen by the model"
        assert askers(server) == ["classifier"] * requests + ["troubleshooting"]
        await (await engine.start(POWER)).wait()
        assert askers(server)[requests + 1 :] == ["classifier", "troubleshooting"], (
            "it is remembered"
        )


async def test_a_limit_that_was_too_much_for_one_prompt_is_used_for_the_next(url: str) -> None:
    too_long = Reply(status=400, error="This model's maximum context length is 4096 tokens")
    script = crew(
        classifier=by_turn([too_long, route("troubleshooting"), route("troubleshooting")])
    )
    async with served_team(url, script) as (server, engine):
        assert route_reason(await events_of(await engine.start(POWER))) == "chosen by the model"
        await (await engine.start(POWER)).wait()
        limits = [
            LIMITS & set(one.body) for one in server.requests if asker_of(one) == "classifier"
        ]
    assert limits == [{"max_completion_tokens"}, set(), {"max_completion_tokens"}]


# -- failures -------------------------------------------------------------------------------------


async def test_a_model_that_is_busy_is_asked_again_and_nothing_is_seen_of_it(url: str) -> None:
    busy = Reply(status=429, headers={"retry-after-ms": "1"})
    async with served_team(url, crew(specs=by_turn([busy, busy, "It has 81 kW."]))) as (
        server,
        engine,
    ):
        events = await events_of(await begin(engine, POWER, **CHOSEN))
        assert [request.status for request in server.requests] == [429, 429, 200]
    assert of_type(events, RunAttempt) == []
    assert events[-1].text == "It has 81 kW."


@pytest.mark.parametrize(
    ("status", "code"), [(429, "MODEL_RATE_LIMITED"), (503, "MODEL_UNAVAILABLE")]
)
async def test_a_model_that_stays_busy_is_asked_four_times_by_each_agent(
    url: str, status: int, code: str
) -> None:
    busy = Reply(status=status, headers={"retry-after-ms": "1"})
    async with served_team(url, crew(specs=busy, synthesis=busy)) as (server, engine):
        end = await (await begin(engine, POWER, **CHOSEN)).wait()
        assert len(server.requests) == 2 * 4, "the client's own patience is not multiplied by ours"
    assert isinstance(end, RunError)
    assert end.code == code


async def test_retry_after_is_kept(url: str) -> None:
    busy = Reply(status=429, headers={"retry-after-ms": "150"})
    async with served_team(url, crew(specs=by_turn([busy, "It has 81 kW."]))) as (server, engine):
        await (await begin(engine, POWER, **CHOSEN)).wait()
        first, second = server.requests
    assert first.ended_at is not None
    assert second.received_at - first.ended_at >= 0.15


@pytest.mark.parametrize("cut", ["rst", "close"])
@pytest.mark.parametrize("tokens", [1, 3])
async def test_an_answer_that_is_cut_is_superseded_and_told_anew(
    url: str, tokens: int, cut: str
) -> None:
    broken = Reply("It might be ninety kW.", fail_after=tokens, cut=cut)  # type: ignore[arg-type]
    async with served_team(url, crew(specs=by_turn([broken, "It has 81 kW."]))) as (_, engine):
        events = await events_of(await begin(engine, POWER, **CHOSEN))
    span = of_type(events, AgentStart)[-1].span
    superseded = of_type(events, RunAttempt)
    said_before = (
        any(isinstance(event, AgentChunk) and "might" in event.text for event in events)
        or tokens == 1
    )
    assert [
        (event.attempt, event.reason, [text.span for text in event.supersedes.texts])
        for event in superseded
    ] == [(1, "model_retry", [span])]
    assert said_before
    assert shown_answer(events) == events[-1].text == "It has 81 kW."


async def test_an_answer_without_its_end_is_superseded_and_told_anew(url: str) -> None:
    unfinished = Reply("It might be", end_without_finish=True)
    async with served_team(url, crew(specs=by_turn([unfinished, "It has 81 kW."]))) as (_, engine):
        events = await events_of(await begin(engine, POWER, **CHOSEN))
    assert events[-1].text == "It has 81 kW."
    assert shown_answer(events) == "It has 81 kW."


async def test_an_answer_without_its_end_is_asked_for_again(url: str) -> None:
    unfinished = Reply("It might be", end_without_finish=True)
    async with served_team(url, crew(specs=by_turn([unfinished, "It has 81 kW."]))) as (
        server,
        engine,
    ):
        assert await (await begin(engine, POWER, **CHOSEN)).text() == "It has 81 kW."
        assert askers(server) == ["specs", "specs"]


async def test_an_answer_that_never_ends_is_given_up(url: str) -> None:
    unfinished = Reply("It might be", end_without_finish=True)
    async with served_team(url, crew(specs=unfinished)) as (server, engine):
        end = await (await begin(engine, POWER, **CHOSEN)).wait()
        assert askers(server) == ["specs"] * ATTEMPTS + ["synthesis"]
    assert isinstance(end, RunComplete)
    assert end.text.endswith("The model stopped in the middle of its answer.")


async def test_garbage_in_a_stream_is_superseded_and_told_anew(url: str) -> None:
    garbage = Reply("It might be", garbage_after=2)
    async with served_team(url, crew(specs=by_turn([garbage, "It has 81 kW."]))) as (_, engine):
        events = await events_of(await begin(engine, POWER, **CHOSEN))
    assert shown_answer(events) == events[-1].text == "It has 81 kW."


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "MODEL_REFUSED"), (401, "MODEL_AUTH"), (403, "MODEL_AUTH"), (404, "MODEL_NOT_FOUND")],
)
async def test_what_cannot_get_better_is_not_asked_again(url: str, status: int, code: str) -> None:
    script = crew(specs=Reply(status=status), synthesis=Reply(status=status))
    async with served_team(url, script) as (server, engine):
        end = await (await begin(engine, POWER, **CHOSEN)).wait()
        assert askers(server) == ["specs", "synthesis"]
    assert end is not None
    assert (end.type, getattr(end, "code", None)) == ("run_error", code)


async def test_cancelling_closes_the_models_stream_and_keeps_what_it_said(url: str) -> None:
    gate = asyncio.Event()
    async with served_team(url, crew(specs=Reply("It has 81 kW.", gate=gate, gate_at=2))) as (
        server,
        engine,
    ):
        run = await begin(engine, POWER, **CHOSEN)
        await reach_text(run, "It has ")
        run.cancel()
        assert (await server.wait_ended(0)).outcome == "closed_by_client"
        end = await run.wait()
        [partial] = [message for message in await engine.messages(run.thread_id) if message.partial]
    assert end is not None
    assert (end.type, partial.content, partial.role) == ("run_cancelled", "It has ", "assistant")
