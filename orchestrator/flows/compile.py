"""Compiles a plan to a graph that can be served: wiring only.

    START → input → … → output → END

A step ends the turn. The next message enters the graph after the step that the conversation has
reached, or at that step again if no condition on its edges holds.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime

from antiphon.orchestrator.budget import Limits
from antiphon.orchestrator.clock import Clock
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.flows.conversation import read_state, write_state
from antiphon.orchestrator.flows.definition import Exits, Node
from antiphon.orchestrator.flows.nodes import FlowState, Visit, next_edge
from antiphon.orchestrator.flows.plan import FlowPlan
from antiphon.orchestrator.graphs.served import Conclusion, ServedGraph
from antiphon.orchestrator.graphs.shape import GraphShape
from antiphon.orchestrator.recording.metadata import LABEL
from antiphon.orchestrator.request import HistoryMessage, Request
from antiphon.orchestrator.team.nodes.context import TeamContext

MOST_STEPS = 1_000
SILENT = {LABEL: {"agent": ""}}
"""The label of nodes that are not in the definition. They leave no trace in the log."""


def compile_flow(
    name: str,
    agent_id: str,
    plan: FlowPlan,
    model: Any,
    clock: Clock,
    make_context: Callable[[Request, Callable[[AnyEvent], None]], TeamContext],
) -> ServedGraph:
    """Return a plan as a graph to serve. `name` is the graph's, `agent_id` its users' name."""

    def make_input(request: Request, history: list[HistoryMessage], encoded: bytes) -> FlowState:
        earlier = request.history or history
        state: FlowState = {
            "message": request.message,
            "history": [{"role": entry.role, "content": entry.content} for entry in earlier],
            "inputs": dict(request.inputs),
        }
        if plan.has_steps:
            kept = read_state(encoded, agent_id, plan)
            state["workflow"] = kept.workflow
            state["outputs"] = kept.outputs
        return state

    def leave(state: Mapping[str, Any]) -> bytes | None:
        return write_state(state, agent_id) if plan.has_steps else None

    return ServedGraph(
        name=name,
        graph=_Wiring(plan, model, clock).graph().compile(name=name),
        shape=GraphShape(),
        make_input=make_input,
        make_context=make_context,
        leave=leave,
        conclude=_conclude,
        steps=_most_steps(plan),
        state="messages",
    )


def _conclude(state: Mapping[str, Any]) -> Conclusion:
    return Conclusion(state.get("answer", ""), state.get("answered_by"))


def _most_steps(plan: FlowPlan) -> int:
    """Return LangGraph's limit of steps: enough for every cycle that `max_rounds` bounds."""
    rounds = sum(node.max_rounds or 0 for node in plan.flow.nodes.values())
    ends = sum(len(branches.regions) for branches in plan.joins.values())
    return min(MOST_STEPS, (len(plan.flow.nodes) + ends + 2) * (2 + rounds))


class _Wiring:
    """Builds the graph of a plan."""

    def __init__(self, plan: FlowPlan, model: Any, clock: Clock) -> None:
        self._plan = plan
        self._model = model
        self._clock = clock
        self._graph = StateGraph(FlowState, context_schema=TeamContext)

    def graph(self) -> StateGraph[FlowState, TeamContext, FlowState, FlowState]:
        """Return the graph, not compiled yet."""
        flow = self._plan.flow
        for node in flow.nodes.values():
            self._add_node(node)
        self._add_joins()
        for node in flow.nodes.values():
            self._add_edges(node)
        start = flow.entries[0]
        if self._plan.has_steps:
            doors = [_door(node) for node in flow.nodes.values()]
            self._graph.add_conditional_edges(START, self._enter(start), doors)
        else:
            self._graph.add_edge(START, _name(start))
        return self._graph

    def _add_node(self, node: Node) -> None:
        kind = node.kind
        prepared = kind.prepare(node, self._model) if kind.prepare else None
        function: Any = self._function(node, kind.run, prepared)
        self._graph.add_node(_name(node), function, metadata=_label(self._plan, node))
        if kind.enter:
            function = self._function(node, kind.enter, prepared)
            self._graph.add_node(_door(node), function, metadata=SILENT)
            self._graph.add_edge(_door(node), _name(node))

    def _function(
        self, node: Node, run: Callable[[Visit], Awaitable[dict[str, Any]]], prepared: Any
    ) -> Callable[[FlowState, Runtime[TeamContext]], Awaitable[dict[str, Any]]]:
        async def visit(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            return await run(
                Visit(
                    node=node,
                    plan=self._plan,
                    state=state,
                    context=runtime.context,
                    clock=self._clock,
                    prepared=prepared,
                )
            )

        return visit

    def _add_joins(self) -> None:
        """End each branch in a node of its own, so that LangGraph enters the join only once."""
        for parallel, branches in self._plan.joins.items():
            ends = [_end(parallel, index) for index in range(len(branches.regions))]
            for end in ends:
                function: Any = _pass
                self._graph.add_node(end, function, metadata=SILENT)
            self._graph.add_edge(ends, self._target(parallel, branches.join or ""))

    def _add_edges(self, node: Node) -> None:
        edges = self._plan.flow.out(node.id)
        if node.kind.exits in (Exits.NONE, Exits.NEXT_TURN):
            self._graph.add_edge(_name(node), END)
        elif node.kind.exits is Exits.ALL:
            for index, region in enumerate(self._plan.joins[node.id].regions):
                end = _end(node.id, index)
                first = self._target("", edges[index].target) if region else end
                self._graph.add_edge(_name(node), first)
        elif len(edges) == 1:
            self._graph.add_edge(_name(node), self._target(node.id, edges[0].target))
        else:
            targets = dict.fromkeys(self._target(node.id, edge.target) for edge in edges)
            self._graph.add_conditional_edges(_name(node), self._choose(node), [*targets])

    def _target(self, source: str, target: str) -> str:
        """Return where an edge leads: to the end of the innermost branch that it leaves, if any."""
        ends = [
            (len(region), _end(parallel, index))
            for parallel, branches in self._plan.joins.items()
            for index, region in enumerate(branches.regions)
            if branches.join == target and source in region
        ]
        return min(ends)[1] if ends else _door(self._plan.flow.nodes[target])

    def _choose(self, node: Node) -> Callable[[FlowState], str]:
        async def choose(state: FlowState) -> str:
            edge = next_edge(self._plan, node, state)
            return self._target(node.id, edge.target) if edge else END

        return choose  # type: ignore[return-value]

    def _enter(self, start: Node) -> Callable[[FlowState], str]:
        """Return the choice of the first node: the input, the node after the step, or the step."""

        async def enter(state: FlowState) -> str:
            nodes = self._plan.flow.nodes
            at = nodes.get(str(state["workflow"]["at"]))
            if at is None:
                return _name(start)
            edge = next_edge(self._plan, at, state)
            return _door(nodes[edge.target] if edge else at)

        return enter  # type: ignore[return-value]


async def _pass(state: FlowState) -> dict[str, Any]:
    return {}


def _name(node: Node) -> str:
    """Return the name of a node in the graph, apart from the state's keys and LangGraph's words."""
    return f"node-{node.id}"


def _door(node: Node) -> str:
    """Return the name of the graph's node through which a node is entered."""
    return f"enter-{node.id}" if node.kind.enter else _name(node)


def _end(parallel: str, branch: int) -> str:
    """Return the name of the end of a branch."""
    return f"end-{branch}-{parallel}"


def _label(plan: FlowPlan, node: Node) -> dict[str, Any]:
    """Return the metadata with which the node's events are recorded."""
    fields = ("tokens", "sentences", "seconds")
    limits = Limits(**{field: getattr(node.config, field, None) for field in fields})
    answers = plan.answers(node) or node.kind.exits is Exits.NONE
    role = "primary" if node.kind.role == "supporting" and answers else node.kind.role
    label = {
        "agent": node.id,
        "role": role,
        "channel": "answer" if answers else "draft",
        "limits": msgspec.to_builtins(limits),
        "kind": node.type,
        "title": node.name,
    }
    return {LABEL: label}
