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
from antiphon.orchestrator.engine.exits import exits_contained
from antiphon.orchestrator.engine.watch import watched_loop
from antiphon.orchestrator.environment import DEFAULT_ENVIRONMENT, Environment, Search
from antiphon.orchestrator.flows.library import FlowLibrary
from antiphon.orchestrator.graphs.loading import load_graphs
from antiphon.orchestrator.graphs.served import ServedGraph
from antiphon.orchestrator.models import chat_model
from antiphon.orchestrator.store import check_config, open_graph_store
from antiphon.orchestrator.team.agents import TEAM
from antiphon.orchestrator.team.served import NAME as TEAM_GRAPH
from antiphon.orchestrator.team.served import serve_team
from antiphon.orchestrator.team.team import Team
from antiphon.rag import knowledge_url, open_store
from antiphon.rag.ingest import ingest_sample
from antiphon.rag.retriever import Retriever
from antiphon.rag.stores.base import Store

log = logging.getLogger("antiphon.engine")


@asynccontextmanager
async def open_engine(
    database: str | None = None,
    *,
    graphs: Iterable[str | Any] = (),
    model: str | Any = "offline",
    team: Team = TEAM,
    store: Mapping[str, Any] | None = None,
    environment: Environment = DEFAULT_ENVIRONMENT,
) -> AsyncIterator[Engine]:
    """Open an engine for as long as the `async with` block lasts.

    `database` is a URL (`sqlite:///path.db`, `memory://`); the default is a file in the user's
    state folder. `graphs` are served beside the built-in team, the first one as the default:
    compiled graphs, `path.py:name`, or a `langgraph.json`. `model` is a spec or a LangChain chat
    model. `store` configures what graphs keep across threads, as in a `langgraph.json`:
    `{"index": …, "ttl": …}`. `environment` has the rest, from the clock to the models' endpoint.

    Raises `ValueError`, `TypeError` or `FileNotFoundError` for what cannot be used, `StorageError`
    for a database that cannot be opened, and what a module with graphs raises.
    """
    url = database or default_database()
    # In a thread, as users' modules may run an event loop of their own.
    served = await asyncio.to_thread(load_graphs, graphs)
    store_config = store or _store_config(served)
    async with AsyncExitStack() as closing:
        chat = _open_model(model, environment, closing)
        retriever = environment.retriever or await _open_retriever(url, closing)
        own = serve_team(team, chat, retriever)
        served.append(own)
        beat_seconds = min(2.0, environment.lease_seconds / 4)
        log_database = await open_database(url, beat_seconds=beat_seconds)
        closing.push_async_callback(log_database.close)
        graph_store = open_graph_store(
            log_database,
            store_config,
            clock=environment.clock,
            api_key=environment.api_key,
            base_url=environment.base_url,
        )
        environment = replace(environment, store=await closing.enter_async_context(graph_store))
        names = [graph.name for graph in served]
        flows = FlowLibrary(log_database, team, chat, environment.clock, own.make_context, names)
        engine = Engine(log_database, served, flows=flows, environment=environment)
        closing.enter_context(exits_contained())
        closing.enter_context(watched_loop(environment.observe))
        closing.push_async_callback(engine.close)
        engine.begin()
        yield engine


def _open_model(model: str | Any, environment: Environment, closing: AsyncExitStack) -> Any:
    """Return the chat model of a spec, whose client is closed in the end; others as they are."""
    if not isinstance(model, str):
        return model
    chat = chat_model(
        model,
        api_key=environment.api_key,
        base_url=environment.base_url,
        seconds=environment.model_seconds,
        trims=environment.model_trims,
    )
    client = getattr(chat, "root_async_client", None)
    if client is not None:
        closing.push_async_callback(client.close)
    return chat


async def _open_retriever(database: str, closing: AsyncExitStack) -> Search:
    """Open the knowledge beside a database. An empty one gets the shipped sample."""
    knowledge = await asyncio.to_thread(_knowledge, database)
    closing.callback(knowledge.close)
    return Retriever(knowledge)


def _knowledge(database: str) -> Store:
    store = open_store(knowledge_url(database))
    if ingest_sample(store):
        log.info("loaded the sample handbook into the empty knowledge base")
    return store


@asynccontextmanager
async def open_library(database: str, team: Team = TEAM) -> AsyncIterator[FlowLibrary]:
    """Open the flows of a database, to read and change them without running them."""
    log_database = await open_database(database)
    try:
        yield FlowLibrary(log_database, team, None, now_ms, _no_context, [TEAM_GRAPH])
    finally:
        await log_database.close()


def _no_context(*_: Any) -> Any:
    raise RuntimeError("this library only keeps flows")


def check(model: str, graphs: Iterable[str | Any]) -> list[ServedGraph]:
    """Load graphs. Raises errors in them or in the model's spec, before anything is opened."""
    chat_model(model)
    served = load_graphs(graphs)
    for graph in served:
        check_config(graph.store)
    return served


async def check_database(url: str) -> None:
    """Open a database and its knowledge, and close them again.

    Raises `StorageError`, `ValueError` or `OSError` if that is impossible.
    """
    await (await open_database(url)).close()
    await asyncio.to_thread(lambda: open_store(knowledge_url(url)).close())


def _store_config(served: Iterable[ServedGraph]) -> Mapping[str, Any] | None:
    """Return the first configuration of the store in a `langgraph.json`, or None."""
    configs = [graph.store for graph in served if graph.store]
    if any(config != configs[0] for config in configs):
        log.warning("more than one langgraph.json configures the store: the first one counts")
    return configs[0] if configs else None


def default_database() -> str:
    """Return the URL of the database in the user's own state folder."""
    return f"sqlite:///{user_state_path('antiphon') / 'antiphon.db'}"
