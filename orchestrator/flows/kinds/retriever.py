"""`retriever`: finds passages. They are the sources of all later nodes that ask the model."""

from __future__ import annotations

from typing import Any

import msgspec

from antiphon.orchestrator.flows.definition import Config, Kind
from antiphon.orchestrator.flows.nodes import Visit
from antiphon.orchestrator.team.nodes.retrieval import look_up


class RetrieverConfig(Config, frozen=True):
    """The query."""

    query: str = "{{ message }}"


async def run(visit: Visit) -> dict[str, Any]:
    """Search the knowledge base."""
    query = visit.text("query")
    visit.progress(0.3, "rag_retrieval")
    sources = await look_up(visit.context, visit.node.id, query)
    passages = [msgspec.to_builtins(source) for source in sources]
    return {"outputs": {visit.node.id: passages}, "sources": passages}


KIND = Kind(config=RetrieverConfig, run=run, templates=("query",), role="retriever")
