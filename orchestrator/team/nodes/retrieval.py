"""Retrieval: the retriever's node, and the search of a drafting specialist for its part."""

from __future__ import annotations

from typing import Any

import msgspec
from langgraph.runtime import Runtime

from antiphon.orchestrator.events import Hit, Interaction, Progress, Sources
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.prompts import Source
from antiphon.orchestrator.team.state import TeamState, route_of
from antiphon.orchestrator.team.team import RETRIEVER
from antiphon.rag.types import ScoredChunk

SNIPPET = 240
"""Characters of a passage that an event contains."""


async def retrieve(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
    """Find passages for the whole question."""
    runtime.context.emit(
        Progress(value=0.3, stage="rag_retrieval", message="Searching the knowledge base…")
    )
    sources = await look_up(runtime.context, route_of(state).primary, state["question"])
    return {"sources": msgspec.to_builtins(sources), "retrieved": True}


async def look_up(context: TeamContext, agent: str, question: str) -> list[Source]:
    """Search for passages for an agent, and emit events of what was found."""
    hits = await context.retriever.search(question, context.access)
    summary = f"{len(hits)} passages" if len(hits) != 1 else "1 passage"
    lookup = Interaction(
        source=agent, target=RETRIEVER, kind="retrieve", query=question, response=summary
    )
    context.emit(lookup)
    context.emit(Sources(query=question, hits=[_snippet(hit) for hit in hits]))
    chunks = [hit.chunk for hit in hits]
    return [Source(id=chunk.document, title=chunk.heading, text=chunk.text) for chunk in chunks]


def _snippet(hit: ScoredChunk) -> Hit:
    """Return a hit as an event reports it."""
    return Hit(
        id=hit.id,
        title=hit.chunk.heading,
        uri=hit.chunk.document,
        score=hit.score,
        snippet=hit.chunk.text[:SNIPPET],
    )
