"""Passages for a question: the retriever's own node, and what a drafting specialist looks up for its part."""

from __future__ import annotations

from typing import Any

import msgspec
from langgraph.runtime import Runtime

from antiphon.orchestrator.events import Hit, Interaction, Progress, Sources
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.prompts import Source
from antiphon.orchestrator.team.state import TeamState, route_of
from antiphon.orchestrator.team.team import RETRIEVER

SNIPPET = 240
"""Characters of a passage that an event shows."""


async def retrieve(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
    """Find passages for the whole question."""
    runtime.context.emit(
        Progress(value=0.3, stage="rag_retrieval", message="Searching the knowledge base…")
    )
    found = await look_up(runtime.context, route_of(state).primary, state["question"])
    return {"sources": [msgspec.to_builtins(source) for source in found], "retrieved": True}


async def look_up(context: TeamContext, agent: str, question: str) -> list[Source]:
    """Search on behalf of an agent, and tell what was found."""
    hits = await context.retriever.search(question, context.access)
    summary = f"{len(hits)} passages" if len(hits) != 1 else "1 passage"
    context.emit(
        Interaction(
            source=agent, target=RETRIEVER, kind="retrieve", query=question, response=summary
        )
    )
    shown = [
        Hit(
            id=hit.id,
            title=hit.chunk.heading,
            uri=hit.chunk.document,
            score=hit.score,
            snippet=hit.chunk.text[:SNIPPET],
        )
        for hit in hits
    ]
    context.emit(Sources(query=question, hits=shown))
    return [
        Source(id=hit.chunk.document, title=hit.chunk.heading, text=hit.chunk.text) for hit in hits
    ]
