"""The graphs of an engine: those that it was opened with, by name, and users' flows."""

from __future__ import annotations

from collections.abc import Sequence

from antiphon.orchestrator.errors import UnknownGraph
from antiphon.orchestrator.flows.library import PREFIX, FlowLibrary
from antiphon.orchestrator.graphs.served import ServedGraph


class Catalogue:
    """Finds graphs. `default` is the name of the graph for requests that name none."""

    def __init__(self, graphs: Sequence[ServedGraph], flows: FlowLibrary | None) -> None:
        names = [served.name for served in graphs]
        if not names:
            raise ValueError("an engine needs a graph to serve")
        if len(set(names)) < len(names):
            raise ValueError(f"graphs need names of their own: {', '.join(names)}")
        self.graphs = {served.name: served for served in graphs}
        self.flows = flows
        self.default = names[0]

    async def named(self, name: str) -> ServedGraph | None:
        """Return a graph by the name that a run records; None if it is not served here."""
        if name in self.graphs or self.flows is None:
            return self.graphs.get(name)
        return await self.flows.graph(name)

    async def choose(self, requested: str | None, user: str) -> ServedGraph:
        """Return the graph for a request: the default one for None. Raises `UnknownGraph`."""
        name: str | None = requested or self.default
        if requested and requested.startswith(PREFIX) and self.flows is not None:
            name = await self.flows.name_for(requested, user)
        served = await self.named(name) if name is not None else None
        if served is None:
            names = ", ".join(self.graphs)
            raise UnknownGraph(f"There is no graph {requested!r}; this server has {names}.")
        return served

    async def flow_of(self, state: bytes) -> str | None:
        """Return the flow that a thread goes on with, by what its last run has left."""
        return await self.flows.of_thread(state) if self.flows is not None else None

    async def bound_to(self, flow: str | None, user: str) -> bytes:
        """Return the state of a new thread that is bound to a flow. Raises `UnknownGraph`."""
        return await self.flows.bound_to(flow, user) if flow and self.flows is not None else b""
