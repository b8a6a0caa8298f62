"""A flow that has been checked: what `check` returns, and what is compiled. Pure."""

from __future__ import annotations

import msgspec

from antiphon.orchestrator.flows.branches import Branches
from antiphon.orchestrator.flows.definition import Edge, Exits, Flow, Node
from antiphon.orchestrator.flows.language.expressions import Expression, Template


class FlowPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A flow that can be executed.

    `templates` are found by `(node, setting)`, `conditions` by the index of their edge, `joins` by
    the id of the parallel node.
    """

    flow: Flow
    templates: dict[tuple[str, str], Template]
    conditions: dict[int, Expression]
    joins: dict[str, Branches]

    def condition(self, edge: Edge) -> Expression | None:
        """Return an edge's condition."""
        return self.conditions.get(edge.index)

    @property
    def has_steps(self) -> bool:
        """Whether the flow lasts for several turns of a conversation."""
        return bool(self.flow.with_exits(Exits.NEXT_TURN))

    def answers(self, node: Node) -> bool:
        """Return whether a node's text is the answer, not material for later nodes."""
        if node.kind.exits is Exits.NEXT_TURN:
            return True
        targets = [self.flow.nodes[edge.target] for edge in self.flow.out(node.id)]
        return bool(targets) and all(target.repeats for target in targets)
