"""From a plan to a graph that can be served: wiring only.

    START → input → … → output → END

A step ends the turn: the next message enters the graph at the ways out of the step where the conversation stands, or at
that step again where none of their conditions holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from langgraph.graph import END, START, StateGraph

from antiphon.data.ids import new_id
from antiphon.orchestrator.budget import Limits
from antiphon.orchestrator.clock import Clock
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.flows.check import Plan
from antiphon.orchestrator.flows.definition import Node
from antiphon.orchestrator.flows.nodes import FlowNodes, FlowState
from antiphon.orchestrator.graphs.served import Conclusion, ServedGraph
from antiphon.orchestrator.graphs.shape import GraphShape
from antiphon.orchestrator.recording.metadata import LABEL
from antiphon.orchestrator.request import HistoryMessage, Request
from antiphon.orchestrator.team.nodes.context import TeamContext

MOST_STEPS = 1_000
STATE_SIZE = 256 * 1024
"""Bytes of what a turn leaves for the next; outputs of nodes are left behind where it would be more."""
SILENT = {LABEL: {"agent": ""}}
"""The label of nodes that are no elements of the flow, and leave no trace in the log."""
ROLES = {"classifier": "classifier", "retriever": "retriever", "synthesis": "synthesis", "step": "primary"}


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What a turn of a conversation in steps leaves for the next one. A `bound` thread stays with its flow for good."""

    flow: str
    workflow: dict[str, Any] = {}
    outputs: dict[str, Any] = {}
    bound: bool = False


def bound_to(agent_id: str) -> bytes:
    """The state of a new thread whose messages all go to one flow."""
    return msgspec.json.encode(Left(flow=agent_id, bound=True))


def bound_flow(left: bytes) -> str | None:
    """The flow that a thread was made for."""
    found = msgspec.json.decode(left, type=Left) if left else None
    return found.flow if found is not None and found.bound else None


def flow_of(left: bytes) -> str | None:
    """The flow that a thread's next message goes to, if it does not name one."""
    return msgspec.json.decode(left, type=Left).flow if left else None


def compile_flow(
    name: str,
    agent_id: str,
    plan: Plan,
    model: Any,
    clock: Clock,
    make_context: Callable[[Request, Callable[[AnyEvent], None]], TeamContext],
) -> ServedGraph:
    """A plan as a graph to serve. `name` is the graph's, `agent_id` what its users call it."""
    nodes = FlowNodes(plan, model, clock)
    graph = _graph(plan, nodes).compile(name=name)

    def make_input(given: Request, history: list[HistoryMessage], left: bytes) -> FlowState:
        state: FlowState = {
            "message": given.message,
            "history": [{"role": one.role, "content": one.content} for one in given.history or history],
            "inputs": given.inputs,
        }
        if plan.has_steps:
            earlier = _earlier(left, agent_id, plan)
            state["workflow"] = earlier.workflow
            state["outputs"] = earlier.outputs
        return state

    def leave(state: Mapping[str, Any]) -> bytes | None:
        if not plan.has_steps:
            return None
        workflow = state.get("workflow") or {}
        if workflow.get("guest"):
            return None
        bound = bool(workflow.get("bound"))
        if not workflow.get("at") or workflow.get("done"):
            return bound_to(agent_id) if bound else b""
        left = Left(flow=agent_id, workflow=workflow, outputs=state.get("outputs", {}), bound=bound)
        encoded = msgspec.json.encode(left)
        return encoded if len(encoded) <= STATE_SIZE else msgspec.json.encode(msgspec.structs.replace(left, outputs={}))

    return ServedGraph(
        name=name,
        graph=graph,
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


def _earlier(left: bytes, agent_id: str, plan: Plan) -> Left:
    """Where the conversation stands: at its beginning where nothing was left, or the step is not there any more."""
    earlier = msgspec.json.decode(left, type=Left) if left else Left(flow=agent_id)
    guest = earlier.bound and earlier.flow != agent_id  # the thread is another flow's, and stays so
    if earlier.flow != agent_id:
        earlier = Left(flow=agent_id)
    node = plan.flow.nodes.get(str(earlier.workflow.get("at")))
    if node is not None and node.type == "step":
        return earlier
    begun: dict[str, Any] = {"id": new_id(), "at": None, "turn": 0, "steps": {}, "done": False}
    begun |= {"bound": earlier.bound, "guest": guest}
    return Left(flow=agent_id, workflow=begun, bound=earlier.bound)


def _most_steps(plan: Plan) -> int:
    rounds = [node.config.max_rounds or 0 for node in plan.flow.of_type("condition")]
    ends = sum(len(found.regions) for found in plan.joins.values())
    return min(MOST_STEPS, (len(plan.flow.nodes) + ends + 2) * (2 + sum(rounds)))


def _graph(plan: Plan, nodes: FlowNodes) -> StateGraph[FlowState, TeamContext, FlowState, FlowState]:
    flow = plan.flow
    graph = StateGraph(FlowState, context_schema=TeamContext)
    for node in flow.nodes.values():
        function: Any = nodes.function(node)
        graph.add_node(_name(node), function, metadata=_label(plan, node))
        if node.type == "step":
            function = nodes.enter(node)
            graph.add_node(_door(node), function, metadata=SILENT)
            graph.add_edge(_door(node), _name(node))
    for id_, found in plan.joins.items():
        ends = [_end(id_, branch) for branch in range(len(found.regions))]
        for end in ends:
            function = _pass
            graph.add_node(end, function, metadata=SILENT)
        graph.add_edge(ends, _way_to(plan, id_, found.join or ""))
    for node in flow.nodes.values():
        _add_ways(graph, plan, nodes, node)
    start = flow.of_type("input")[0]
    if plan.has_steps:
        graph.add_conditional_edges(START, _entry(plan, nodes, start), [_door(node) for node in flow.nodes.values()])
    else:
        graph.add_edge(START, _name(start))
    return graph


async def _pass(state: FlowState) -> dict[str, Any]:
    return {}


def _name(node: Node) -> str:
    """The name of a node in the graph, where keys of the state and LangGraph's own words are taken."""
    return f"node-{node.id}"


def _door(node: Node) -> str:
    """Where a node is entered. What a step tells when it begins is told once, even if it is begun again."""
    return f"enter-{node.id}" if node.type == "step" else _name(node)


def _end(parallel: str, branch: int) -> str:
    """The end of a branch: a node of the graph of its own, so that their common end is entered once, from all."""
    return f"end-{branch}-{parallel}"


def _way_to(plan: Plan, source: str, target: str) -> str:
    """Where a way leads: to the end of the innermost branch that ends with it, else to its target."""
    ends = [
        (len(region), _end(id_, branch))
        for id_, found in plan.joins.items()
        for branch, region in enumerate(found.regions)
        if found.join == target and source in region
    ]
    return min(ends)[1] if ends else _door(plan.flow.nodes[target])


def _label(plan: Plan, node: Node) -> dict[str, Any]:
    limits = Limits(**{field: getattr(node.config, field, None) for field in ("tokens", "sentences", "seconds")})
    answers = plan.answers(node) or node.type == "output"
    supporting = "primary" if answers else "supporting"
    label = {
        "agent": node.id,
        "role": ROLES.get(node.type, supporting if node.type == "agent" else "element"),
        "channel": "answer" if answers else "draft",
        "limits": msgspec.to_builtins(limits),
        "kind": node.type,
        "title": node.name,
    }
    return {LABEL: label}


def _add_ways(graph: StateGraph[Any, Any, Any, Any], plan: Plan, nodes: FlowNodes, node: Node) -> None:
    ways = plan.flow.out(node.id)
    if node.type in ("output", "step"):
        graph.add_edge(_name(node), END)
    elif node.type == "parallel":
        for branch, region in enumerate(plan.joins[node.id].regions):
            first = _way_to(plan, "", ways[branch].target) if region else _end(node.id, branch)
            graph.add_edge(_name(node), first)
    elif len(ways) == 1:
        graph.add_edge(_name(node), _way_to(plan, node.id, ways[0].target))
    else:
        targets = list(dict.fromkeys(_way_to(plan, node.id, edge.target) for edge in ways))
        graph.add_conditional_edges(_name(node), _chosen(plan, nodes, node), targets)


def _chosen(plan: Plan, nodes: FlowNodes, node: Node) -> Callable[[FlowState], str]:
    async def choose(state: FlowState) -> str:
        way = nodes.way(node, state)
        return _way_to(plan, node.id, way.target) if way else END

    return choose  # type: ignore[return-value]


def _entry(plan: Plan, nodes: FlowNodes, start: Node) -> Callable[[FlowState], str]:
    """Where a message enters: at the input, or behind the step where the conversation stands, or at that step again."""

    async def enter(state: FlowState) -> str:
        at = plan.flow.nodes.get(str(state["workflow"]["at"]))
        if at is None:
            return _name(start)
        way = nodes.way(at, state)
        return _door(plan.flow.nodes[way.target] if way else at)

    return enter  # type: ignore[return-value]
