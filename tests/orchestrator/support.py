"""Real things for the tests of `orchestrator`: scripted models, small graphs, and the invariants of
every log."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager, closing
from dataclasses import fields
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, settings
from langchain_core.language_models import BaseChatModel
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.pregel import Pregel

from antiphon import Engine, Run, open_engine
from antiphon.data import transactions
from antiphon.data.database import Database
from antiphon.data.ids import new_id
from antiphon.data.records import Acceptance, NewEvent, RunRecord
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.events import (
    TERMINAL,
    AgentChunk,
    AgentComplete,
    AgentError,
    AgentStart,
    AgentTextEnd,
    AnyEvent,
    Interrupt,
    InterruptAnswered,
    MessageSaved,
    Progress,
    Recorded,
    RunAttempt,
    RunCancelled,
    RunComplete,
    RunError,
    RunStart,
    ToolComplete,
    ToolError,
    ToolStart,
    decode,
    encode,
)
from antiphon.orchestrator.models import chat_model
from antiphon.orchestrator.recording.view import RECOVERED, RunView
from antiphon.orchestrator.recording.writer import RunWriter
from antiphon.orchestrator.request import LOCAL_USER, PUBLIC, Request, User
from antiphon.orchestrator.team import prompts
from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.testing import ScriptedModel
from antiphon.rag.types import Chunk, ScoredChunk
from tests.support.model_server import ModelRequest, ModelServer, Reply, ReplyLike, Script, by_agent

UNHURRIED = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
"""For properties: a busy machine is no failure, and fixtures may be shared by examples."""

# ------------------------------------------------------------------------------------------------------- graphs


def chain(name: str = "graph", **nodes: Any) -> Pregel[Any, Any, Any, Any]:
    """A graph of nodes one after another; a node may be `(node, options of add_node)`."""
    graph, before = StateGraph(MessagesState), START
    for node, given in nodes.items():
        action, options = given if isinstance(given, tuple) else (given, {})
        graph.add_node(node, action, **options)
        graph.add_edge(before, node)
        before = node
    return graph.compile(name=name)


def side_by_side(name: str = "graph", **nodes: Any) -> Pregel[Any, Any, Any, Any]:
    """A graph of nodes that run at the same time."""
    graph = StateGraph(MessagesState)
    for node, action in nodes.items():
        graph.add_node(node, action)
        graph.add_edge(START, node)
    return graph.compile(name=name)


def asking(model: BaseChatModel) -> Callable[[Any], Any]:
    """A node that lets a model answer."""

    async def ask(state: Any) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    return ask


def saying(*pieces: Any) -> Callable[[Any], Any]:
    """A node whose model says this, each time it is asked."""
    return asking(ScriptedModel(turns=[pieces] * 9))


# ------------------------------------------------------------------------------------------------------ engines


class Knowledge:
    """Finds the same passages for every question."""

    def __init__(self, **texts: str) -> None:
        self._hits = [
            ScoredChunk(
                chunk=Chunk(
                    document=f"{name}.md", ordinal=0, heading=name, text=text, access="public"
                ),
                score=1.0,
            )
            for name, text in texts.items()
        ]

    async def search(self, question: str, access: Iterable[str]) -> list[ScoredChunk]:
        return self._hits


ENVIRONMENT = {field.name for field in fields(Environment)} - {"store"}


@asynccontextmanager
async def opened(url: str, *graphs: Any, **options: Any) -> AsyncIterator[Engine]:
    """An engine whose whole log is checked once it is closed. `options` are `open_engine`'s and `Environment`'s."""
    options.setdefault("retriever", Knowledge())
    environment = Environment(**{name: options.pop(name) for name in ENVIRONMENT & options.keys()})
    async with open_engine(url, graphs=graphs, environment=environment, **options) as engine:
        yield engine
    check_log(path_of(url))


async def begin(
    engine: Engine,
    message: str,
    *,
    user: str = LOCAL_USER,
    access: Collection[str] = PUBLIC,
    **asked: Any,
) -> Run:
    """Begin to answer a message; `asked` are fields of `Request`."""
    return await engine.accept(Request(message=message, **asked), User(user, access))


def path_of(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


async def events_of(run: Run) -> list[AnyEvent]:
    """A run's events, to its end or its open question."""
    return [recorded.event async for recorded in run]


async def reach(run: Run, seen: Callable[[list[AnyEvent]], bool]) -> list[AnyEvent]:
    """Follow a run until something holds of the events so far, and return them."""
    events: list[AnyEvent] = []
    async for recorded in run:
        events.append(recorded.event)
        if seen(events):
            return events
    raise AssertionError(f"the run ended without it: {events}")


async def reach_text(run: Run, *texts: str) -> None:
    """Follow a run until agents have said all this."""
    await reach(
        run,
        lambda events: all(any(text in said for said in spoken(events).values()) for text in texts),
    )


# ------------------------------------------------------------------------------------------------------- events

ABOUT_AGENTS = (
    *(AgentStart, AgentChunk, AgentComplete, AgentError, RunAttempt),
    *(ToolStart, ToolComplete, ToolError, Interrupt, InterruptAnswered),
)


def about_agents(events: Iterable[AnyEvent]) -> list[AnyEvent]:
    """What agents and tools did, at any speed: adjacent pieces joined, durations and outputs left out."""
    told: list[AnyEvent] = []
    for event in events:
        match event, told[-1:]:
            case AgentChunk(), [AgentChunk() as last] if _is_one_text(last, event):
                told[-1] = msgspec.structs.replace(last, text=last.text + event.text)
            case AgentComplete(), _:
                told.append(
                    msgspec.structs.replace(event, duration_ms=0, outputs={}, answered=False)
                )
            case _ if isinstance(event, ABOUT_AGENTS):
                told.append(event)
    return told


def _is_one_text(one: AgentChunk, other: AgentChunk) -> bool:
    return (one.span, one.channel, one.part) == (other.span, other.channel, other.part)


class Spoken:
    """What is said and not taken back, text by text; written anew here, as a client would."""

    def __init__(self) -> None:
        self.texts: dict[tuple[str, int], str] = {}

    def see(self, event: AnyEvent, *channels: str) -> None:
        if isinstance(event, RunAttempt):
            spans = set(event.supersedes.spans)
            parts = {(one.span, one.part) for one in event.supersedes.texts}
            for key in self.texts:
                if key[0] in spans or key in parts:
                    self.texts[key] = ""
        elif isinstance(event, AgentChunk) and event.channel in (channels or ("answer", "draft")):
            key = (event.span, event.part)
            self.texts[key] = self.texts.get(key, "") + event.text

    def of_span(self, span: str) -> str:
        return "\n\n".join(text for key, text in self.texts.items() if key[0] == span and text)


def spoken(events: Iterable[AnyEvent], *channels: str) -> dict[str, str]:
    """What each span has said and not taken back: answers and drafts, unless told otherwise."""
    said = Spoken()
    for event in events:
        said.see(event, *channels)
    return {span: said.of_span(span) for span in dict.fromkeys(key[0] for key in said.texts)}


def shown_answer(events: Iterable[AnyEvent]) -> str:
    """What a reader of the answer channel has on the screen."""
    said = Spoken()
    for event in events:
        said.see(event, "answer")
    return "\n\n".join(filter(None, said.texts.values()))


def of_type(events: Iterable[AnyEvent], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# --------------------------------------------------------------------------------------------------- invariants

STATUS = {RunComplete: "completed", RunError: "failed", RunCancelled: "cancelled"}


class RunRow(NamedTuple):
    """A run as the database has it."""

    id: str
    status: str
    emitted: int
    result: bytes | None


def check_log(path: Path) -> None:
    """Every thread's numbers are dense, and every run keeps the rules of `check_run`."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT thread_id, seq, run_id, attempt, at, payload FROM events ORDER BY thread_id, seq"
        ).fetchall()
        runs = connection.execute("SELECT id, status, emitted, result FROM runs").fetchall()
        messages = dict(connection.execute("SELECT id, content FROM messages").fetchall())
    log = [
        Recorded(
            thread_id=thread, seq=seq, run_id=run, attempt=attempt, at=at, event=decode(payload)
        )
        for thread, seq, run, attempt, at, payload in rows
    ]
    for thread in {recorded.thread_id for recorded in log}:
        numbers = [recorded.seq for recorded in log if recorded.thread_id == thread]
        assert numbers == list(range(1, len(numbers) + 1))
    for run in map(RunRow._make, runs):
        check_run(run, [recorded for recorded in log if recorded.run_id == run.id])
    saved = [recorded.event.message for recorded in log if isinstance(recorded.event, MessageSaved)]
    assert len({message.id for message in saved}) == len(saved)
    assert {message.id: messages[message.id] for message in saved} == {
        m.id: m.content for m in saved
    }


def check_run(run: RunRow, log: list[Recorded]) -> None:
    """What holds of every run at every time; what began is closed once the run has ended or waits."""
    events = [recorded.event for recorded in log]
    assert run.emitted == len(events)
    assert isinstance(events[0], RunStart)
    assert [recorded.attempt for recorded in log] == sorted(recorded.attempt for recorded in log)
    ends = [event for event in events if isinstance(event, TERMINAL)]
    if run.status in STATUS.values():
        assert [events[-1]] == ends, "exactly one terminal event, and nothing behind it"
        assert (STATUS[type(ends[0])], encode(ends[0])) == (run.status, run.result)
    else:
        assert (ends, run.result) == ([], None)
    progress = [event.value for event in events if isinstance(event, Progress)]
    assert progress == sorted(progress)
    assert all(0 <= value <= 1 for value in progress)
    open_spans = check_spans(log)
    if run.status in (*STATUS.values(), "interrupted"):
        assert open_spans == {}
    if run.status == "interrupted":
        assert isinstance(events[-1], Interrupt)


def check_spans(log: list[Recorded]) -> dict[str, AgentStart]:
    """What agents and tools did was balanced, and their texts add up. Returns the spans that are still open."""
    began: dict[str, int] = {}
    spans: dict[str, AgentStart] = {}
    tools: dict[str, tuple[str, str]] = {}
    said, complete = Spoken(), set[tuple[str, int]]()
    for recorded in log:
        said.see(recorded.event)
        match recorded.event:
            case RunAttempt(supersedes=superseded, reason=reason) as event:
                assert event.attempt == recorded.attempt
                assert all(superseded.after < began[span] for span in superseded.spans)
                assert all(superseded.after < began[text.span] for text in superseded.texts)
                if reason == RECOVERED:
                    for span in superseded.spans:
                        spans.pop(span, None)
            case AgentStart() as event:
                assert event.span not in began
                assert event.parent is None or event.parent in spans
                began[event.span], spans[event.span] = recorded.seq, event
            case AgentChunk() as event:
                assert (spans[event.span].agent, spans[event.span].role) == (
                    event.agent,
                    event.role,
                )
                assert (event.span, event.part) not in complete, "no piece after a text's end"
            case AgentTextEnd() as event:
                assert event.span in spans
                complete.add((event.span, event.part))
            case AgentComplete() as event:
                start = spans.pop(event.span)
                assert (start.agent, start.role) == (event.agent, event.role)
                assert said.of_span(event.span) == event.text
            case AgentError() as event:
                start = spans.pop(event.span)
                assert (start.agent, start.role) == (event.agent, event.role)
            case ToolStart() as event:
                assert event.span in spans
                tools[event.call_id] = (event.span, event.name)
            case ToolComplete() | ToolError() as event:
                assert tools.pop(event.call_id) == (event.span, event.name)
    return spans


# -------------------------------------------------------------------------------------- the team behind a server

PROMPTS = {
    "classifier": prompts.CLASSIFY,
    "synthesis": prompts.SYNTHESIS,
    **{agent.name: agent.prompt for agent in TEAM},
}
"""A part of each agent's system prompt, by which a script tells who asks."""

FAILS = Reply(status=400, error="internal: key sk-secret is unknown to node 7")
"""An answer that no client asks for again."""


def crew(**replies: ReplyLike) -> Script:
    """A script for the team: a reply for each agent; the others say nothing but their name."""
    default = {name: f"{name} speaking." for name in PROMPTS if name != "classifier"}
    return by_agent({PROMPTS[name]: reply for name, reply in {**default, **replies}.items()})


def route(primary: str, *supporting: str, parts: dict[str, str] | None = None) -> str:
    """What a model answers the classifier."""
    pairs = [{"agent": agent, "question": question} for agent, question in (parts or {}).items()]
    return json.dumps(
        {"primary": primary, "supporting": supporting, "confidence": 0.9, "parts": pairs}
    )


def asker_of(request: ModelRequest) -> str:
    """The agent that made a request."""
    return next(name for name, part in PROMPTS.items() if part in request.system)


def askers(server: ModelServer) -> list[str]:
    """Who asked, in order."""
    return [asker_of(request) for request in server.requests]


@asynccontextmanager
async def served_team(
    url: str, script: ReplyLike, **options: Any
) -> AsyncIterator[tuple[ModelServer, Engine]]:
    """The team, with a model behind a loopback endpoint."""
    async with ModelServer(script) as server:
        model: Any = chat_model("openai:gpt-4o-mini", base_url=server.base_url)
        try:
            async with opened(url, model=model, **options) as engine:
                yield server, engine
        finally:
            await model.root_async_client.close()
        assert server.script_errors == []


# ------------------------------------------------------------------------------------------------ one run's writer


async def accepted(database: Database, **given: Any) -> RunRecord:
    """A run of a new thread, taken by worker `worker` unless told otherwise, with its first event in the log."""
    start = RunStart(input={"message": "hello"}, graph="graph", dialect="native", reply_id=new_id())
    defaults = {
        "run_id": new_id(),
        "message_id": new_id(),
        "reply_message_id": start.reply_id,
        "user_id": "local",
        "graph": start.graph,
        "content": "hello",
        "input": b'{"message":"hello"}',
        "at": 1,
        "worker": "worker",
        "events": lambda thread, message: [NewEvent(type=start.type, payload=encode(start), at=1)],
    }
    return (await database.write(transactions.accept, Acceptance(**(defaults | given)))).run


@asynccontextmanager
async def writing(database: Database, run: RunRecord | None = None) -> AsyncIterator[RunWriter]:
    """The writer of a run, of a new one unless told otherwise."""
    record = run or await accepted(database)
    writer = RunWriter(database, record, Environment(clock=lambda: 2), RunView())
    try:
        yield writer
    finally:
        await writer.close()


async def logged(database: Database, run: RunRecord) -> list[AnyEvent]:
    """The events of a run behind its first one."""
    return [decode(row.payload) for row in await database.read(run.thread_id, run.first_seq, 1000)]
