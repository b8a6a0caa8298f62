"""The kinds of nodes in flows, one file each. A new one is a file and a row in this table."""

from __future__ import annotations

from antiphon.orchestrator.flows.definition import Kind
from antiphon.orchestrator.flows.kinds import (
    agent,
    approval,
    classifier,
    condition,
    input_,
    output,
    parallel,
    retriever,
    step,
    synthesis,
    template,
    tool,
)

KINDS: dict[str, Kind] = {
    "input": input_.KIND,
    "classifier": classifier.KIND,
    "retriever": retriever.KIND,
    "agent": agent.KIND,
    "parallel": parallel.KIND,
    "condition": condition.KIND,
    "template": template.KIND,
    "tool": tool.KIND,
    "approval": approval.KIND,
    "synthesis": synthesis.KIND,
    "step": step.KIND,
    "output": output.KIND,
}
"""Kinds by the name that definitions use as `type`."""
