"""Nodes that are generator functions without `async`."""

from __future__ import annotations

import inspect
from typing import Any

from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.pregel import Pregel

from antiphon.orchestrator.graphs.inputs import Graph


def without_generators(graph: Graph) -> Graph:
    """The graph, with plain functions in place of its generator functions, also in subgraphs.

    LangGraph executes them, and takes the last value that they yield; but it refuses to where it streams from
    each node, as it does for `astream_events` and for handlers such as ours.
    """
    changed: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        bound = node.bound
        if isinstance(bound, Pregel):
            inner = without_generators(bound)
            if inner is not bound:
                changed[name] = node.copy({"bound": inner, "subgraphs": [inner]})
        elif isinstance(bound, RunnableLambda) and inspect.isgeneratorfunction(
            getattr(bound, "func", None)
        ):
            changed[name] = node.copy(
                {"bound": RunnableLambda(_whole(bound), name=bound.get_name())}
            )
    return graph.copy(update={"nodes": {**graph.nodes, **changed}}) if changed else graph


def _whole(generator: RunnableLambda[Any, Any]) -> Any:
    def run(given: Any, config: RunnableConfig) -> Any:
        return generator.invoke(given, config)

    return run
