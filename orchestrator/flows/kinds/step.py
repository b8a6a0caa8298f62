"""`step`: a part of a conversation that lasts until a condition on one of its edges holds."""

from __future__ import annotations

from typing import Any

from antiphon.orchestrator.events import WorkflowUpdate
from antiphon.orchestrator.flows.definition import Config, Exits, Kind
from antiphon.orchestrator.flows.nodes import Visit, merged
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.prompts import step_prompt


class StepConfig(Config, frozen=True):
    """What to find out or to explain, how, and the limits of each reply."""

    goal: str
    guidelines: str = ""
    tokens: int = 300
    sentences: int = 2
    seconds: float = 120


async def enter(visit: Visit) -> dict[str, Any]:
    """Report that the conversation is in this step: first of all, still, or after another one."""
    context, workflow, node = visit.context, visit.state["workflow"], visit.node
    id_, at = workflow["id"], workflow["at"]
    begins = f"{node.name} begins."
    if at is None:
        update = WorkflowUpdate(workflow_id=id_, status="created", step=node.id, message=begins)
    elif at == node.id:
        goes_on = f"{node.name} goes on."
        update = WorkflowUpdate(workflow_id=id_, status="running", step=node.id, message=goes_on)
    else:
        context.emit(WorkflowUpdate(workflow_id=id_, status="step_completed", step=at))
        update = WorkflowUpdate(
            workflow_id=id_, status="transition", step=node.id, previous=at, message=begins
        )
    context.emit(update)
    return {}


async def run(visit: Visit) -> dict[str, Any]:
    """Ask the model, and note the exchange in the workflow."""
    node, workflow, message = visit.node, visit.state["workflow"], visit.state["message"]
    instructions = step_prompt(node.name, visit.text("goal"), visit.text("guidelines"))
    text = await visit.ask(instructions, message)
    is_last = not visit.plan.flow.out(node.id)
    if is_last:
        complete_workflow(visit.context, workflow["id"], node.id)
    turn = workflow["turn"] + 1 if workflow["at"] == node.id else 1
    steps = merged(workflow["steps"], {node.id: {"message": message, "response": text}})
    now = {**workflow, "at": node.id, "turn": turn, "steps": steps, "done": is_last}
    return {**visit.reply(text), "workflow": now}


def complete_workflow(context: TeamContext, workflow: str, step: str) -> None:
    """Report that a workflow ends with this step."""
    context.emit(WorkflowUpdate(workflow_id=workflow, status="step_completed", step=step))
    message = "The workflow is complete."
    context.emit(
        WorkflowUpdate(workflow_id=workflow, status="completed", step=step, message=message)
    )


KIND = Kind(
    config=StepConfig,
    run=run,
    enter=enter,
    templates=("goal", "guidelines"),
    role="supporting",
    speaks=True,
    pauses=True,
    exits=Exits.NEXT_TURN,
    aliases=("workflow_step",),
)
