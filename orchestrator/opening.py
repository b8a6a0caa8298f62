"""The engine's composition root: from plain arguments to a running engine and back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from platformdirs import user_state_path

from antiphon.data import open_database
from antiphon.orchestrator.clock import now_ms
from antiphon.orchestrator.engine.engine import Engine
from antiphon.orchestrator.engine.environment import DEFAULT_ENVIRONMENT, Environment
from antiphon.orchestrator.engine.exits import exits_contained
from antiphon.orchestrator.engine.watch import watched_loop
from antiphon.orchestrator.flows.library import FlowLibrary
from antiphon.orchestrator.graphs.loading import load_graphs
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.models import READ_SECONDS, chat_model
from antiphon.orchestrator.store import check_config, open_graph_store
from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.team.nodes.context import Search
from antiphon.orchestrator.team.served import NAME as TEAM_GRAPH
from antiphon.orchestrator.team.served import serve_team
from antiphon.orchestrator.team.team import Team
from antiphon.rag import knowledge_url, open_store
from antiphon.rag.ingest import ingest_sample
from antiphon.rag.retriever import Retriever
from antiphon.rag.stores.base import Store

log = logging.getLogger("antiphon.engine")


@asynccontextmanager
async def open_engine(  # noqa: PLR0913 - a keyword for each choice of whoever opens one
    database: str | None = None,
    *,
    graphs: Iterable[str | Any] = (),
    model: str | Any = "offline",
    api_key: str | None = None,
    base_url: str | None = None,
    model_seconds: float = READ_SECONDS,
    team: Team = TEAM,
    retriever: Search | None = None,
    store: Mapping[str, Any] | None = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> AsyncIterator[Engine]:
    """An engine for as long as the `async with` block lasts.

    `database` is a URL (`sqlite:///path.db`, `memory://`); the default is a file in the user's state folder.
    `graphs` are served beside the built-in team, the first one as the default: compiled graphs, `path.py:name`, or
    a `langgraph.json`. `model` is a spec or a LangChain chat model. `retriever` defaults to the knowledge beside
    the database, which begins with the shipped sample. `store` configures what graphs keep across threads, as in a
    `langgraph.json`: `{"index": …, "ttl": …}`. `environment` has the clock, the runs' limits, and who is called for
    metrics and traces.
    """
    url = database or default_database()
    chat = (
        chat_model(model, api_key=api_key, base_url=base_url, seconds=model_seconds)
        if isinstance(model, str)
        else model
    )
    served = await asyncio.to_thread(load_graphs, graphs)  # users' modules may run an event loop of their own
    knowledge = None
    if retriever is None:
        retriever = knowledge = Retriever(await asyncio.to_thread(_knowledge, url))
    configured = store or _store_config(served)
    own = serve_team(team, chat, retriever)
    served.append(own)
    async with AsyncExitStack() as closing:
        log_database = await open_database(url, beat_seconds=min(2.0, environment.lease_seconds / 4))
        closing.push_async_callback(log_database.close)
        kept = await closing.enter_async_context(
            open_graph_store(log_database, configured, clock=environment.clock, api_key=api_key, base_url=base_url)
        )
        flows = FlowLibrary(log_database, team, chat, environment.clock, own.make_context, [one.name for one in served])
        engine = Engine(log_database, served, flows=flows, environment=replace(environment, store=kept))
        try:
            with exits_contained(), watched_loop(environment.observe):
                engine.begin()
                try:
                    yield engine
                finally:
                    await engine.close()
        finally:
            if isinstance(model, str) and (client := getattr(chat, "root_async_client", None)) is not None:
                await client.close()
            if knowledge is not None:
                knowledge.close()


@asynccontextmanager
async def open_library(database: str, team: Team = TEAM) -> AsyncIterator[FlowLibrary]:
    """The flows of a database, to be read and changed, but not run."""
    log_database = await open_database(database)
    try:
        yield FlowLibrary(log_database, team, None, now_ms, _no_context, [TEAM_GRAPH])
    finally:
        await log_database.close()


def _no_context(*_: Any) -> Any:
    raise RuntimeError("this library only keeps flows")


def check(model: str, graphs: Iterable[str | Any]) -> list[ServedGraph]:
    """Load graphs. Raise what is wrong with them or with a model's spec, before anything is opened."""
    chat_model(model)
    served = load_graphs(graphs)
    for one in served:
        check_config(one.store)
    return served


def _store_config(served: Iterable[ServedGraph]) -> Mapping[str, Any] | None:
    """How a `langgraph.json` configures the store: the first one that does."""
    found = [one.store for one in served if one.store]
    if any(config != found[0] for config in found):
        log.warning("more than one langgraph.json configures the store: the first one counts")
    return found[0] if found else None


def default_database() -> str:
    """The URL of the database in the user's own state folder."""
    return f"sqlite:///{user_state_path('antiphon') / 'antiphon.db'}"


def _knowledge(database: str) -> Store:
    store = open_store(knowledge_url(database))
    if ingest_sample(store):
        log.info("loaded the sample handbook into the empty knowledge base")
    return store
