"""`output`: ends the flow with its text, or with the text of the node before it."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.flows.definition import Config, Exits, Kind
from antiphon.orchestrator.flows.kinds.step import complete_workflow
from antiphon.orchestrator.flows.nodes import FlowState, Visit


class OutputConfig(Config, frozen=True):
    """The text; None repeats the last one."""

    text: str | None = None


async def run(visit: Visit) -> dict[str, Any]:
    """Give the answer. If the conversation is in a step, its workflow is complete."""
    node, state = visit.node, visit.state
    workflow = state.get("workflow") or {}
    ended: dict[str, Any] = {}
    if step := workflow.get("at"):
        complete_workflow(visit.context, workflow["id"], step)
        ended = {"workflow": {**workflow, "done": True}}
    if node.repeats and "answer" in state:
        return {"outputs": {node.id: state["answer"]}, **ended}
    text = _last_text(state) if node.repeats else visit.text("text")
    return {**visit.answer(await visit.speak(text)), **ended}


def _last_text(state: FlowState) -> str:
    """Return the last text of an earlier node in this turn, or of the step that ends."""
    workflow = state.get("workflow") or {"at": None, "steps": {}}
    response: str = workflow["steps"].get(workflow["at"], {}).get("response", "")
    return state.get("said") or response


KIND = Kind(config=OutputConfig, run=run, templates=("text",), exits=Exits.NONE)
