"""Support for nodes that are synchronous generator functions."""

from __future__ import annotations

import inspect
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda
from langgraph.pregel import Pregel

from antiphon.orchestrator.graphs.inputs import Graph


def without_generators(graph: Graph) -> Graph:
    """Return the graph with its generator functions replaced by plain ones, also in subgraphs.

    LangGraph executes generator functions and takes the last value that they yield. It refuses to
    do so if it streams from each node, as it does for `astream_events` and for our handlers.
    """
    changed: dict[str, Any] = {}
    for name, node in graph.nodes.items():
        bound = node.bound
        if isinstance(bound, Pregel):
            inner = without_generators(bound)
            if inner is not bound:
                changed[name] = node.copy({"bound": inner, "subgraphs": [inner]})
        elif _is_generator(bound):
            plain = RunnableLambda(_as_function(bound), name=bound.get_name())
            changed[name] = node.copy({"bound": plain})
    return graph.copy(update={"nodes": {**graph.nodes, **changed}}) if changed else graph


def _is_generator(bound: Any) -> bool:
    function = getattr(bound, "func", None)
    return isinstance(bound, RunnableLambda) and inspect.isgeneratorfunction(function)


def _as_function(generator: Runnable[Any, Any]) -> Any:
    def run(value: Any, config: RunnableConfig) -> Any:
        return generator.invoke(value, config)

    return run
