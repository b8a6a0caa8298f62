"""What a flow's nodes work with when they are executed: the state, and the visit to a node."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import msgspec
from langchain_core.callbacks import adispatch_custom_event

from antiphon.data.errors import AntiphonError
from antiphon.orchestrator.clock import Clock
from antiphon.orchestrator.events import Progress, Stage
from antiphon.orchestrator.flows.definition import Edge, Node
from antiphon.orchestrator.flows.language.expressions import Expression, ExpressionError
from antiphon.orchestrator.flows.plan import FlowPlan
from antiphon.orchestrator.models import ask
from antiphon.orchestrator.team.nodes.answers import conversation
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.prompts import Draft, Source, flow_prompt

DEFAULT_TOKENS = 1024


def merged(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Return two dictionaries as one, so that parallel nodes can write side by side."""
    return {**left, **right}


def newer(left: str, right: str) -> str:
    """Return the later one of two texts."""
    return right


class FlowState(TypedDict, total=False):
    """What nodes read and write; plain JSON types only.

    `outputs` holds the last output of each node; `passes` how often conditions with `max_rounds`
    were passed; `said` the last text that is not the answer; `workflow` the place of a conversation
    in steps: `{id, at, turn, steps: {step: {message, response}}, done}`.
    """

    message: str
    history: list[dict[str, str]]
    inputs: dict[str, Any]
    outputs: Annotated[dict[str, Any], merged]
    passes: Annotated[dict[str, int], merged]
    sources: Annotated[list[dict[str, Any]], operator.add]
    drafts: Annotated[list[dict[str, Any]], operator.add]
    said: Annotated[str, newer]
    answer: str
    answered_by: str
    workflow: dict[str, Any]


class FlowFailed(AntiphonError):
    """An expression of the flow has no value for this message."""

    code = "FLOW_FAILED"
    message = "The flow could not go on."


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One execution of a node, as the functions of its kind see it."""

    node: Node
    plan: FlowPlan
    state: FlowState
    context: TeamContext
    clock: Clock
    prepared: Any = None
    """What the kind's `prepare` made for the node."""

    def text(self, setting: str) -> str:
        """Return the text of a setting that is a template.

        A template in an object is named `setting/key`. Raises `FlowFailed` if it has no value.
        """
        try:
            return self.plan.templates[self.node.id, setting].render(_values(self.state))
        except ExpressionError:
            message = f"A template of {self.node.name!r} has no value for this message."
            raise FlowFailed(message) from None

    def reply(self, text: str) -> dict[str, Any]:
        """Return the update of a node that has spoken: its text is the answer, or a draft."""
        if self.plan.answers(self.node):
            return self.answer(text)
        return {"outputs": {self.node.id: text}, "said": text}

    def answer(self, text: str) -> dict[str, Any]:
        """Return the update of a node that has given the answer."""
        id_ = self.node.id
        return {"outputs": {id_: text}, "answer": text, "answered_by": id_}

    async def speak(self, text: str) -> str:
        """Stream a text that no model has streamed, and return it."""
        if text:
            await adispatch_custom_event("agent_chunk", {"text": text})
        return text

    async def ask(self, instructions: str, question: str, drafts: Sequence[Draft] = ()) -> str:
        """Ask the model, with everything found so far as its sources, and return its text."""
        context = self.context
        self.progress(0.6, "generating")
        prompt = flow_prompt(instructions, _sources(self.state), drafts, context.profile)
        messages = conversation(prompt, self.state.get("history", []), question)
        return await ask(context.model, messages, self.node.config.tokens or DEFAULT_TOKENS)

    def progress(self, value: float, stage: Stage) -> None:
        """Report how far the run is, from 0 to 1."""
        self.context.emit(Progress(value=value, stage=stage, message=f"{self.node.name}…"))


def next_edge(plan: FlowPlan, node: Node, state: FlowState) -> Edge | None:
    """Return the edge to follow: the first whose condition holds, else the one without condition.

    After `max_rounds` passes, conditions hold no more. Raises `FlowFailed` if a condition has no
    value.
    """
    plain = None
    passes = state.get("passes", {}).get(node.id, 0)
    exhausted = node.max_rounds is not None and passes > node.max_rounds
    for edge in plan.flow.out(node.id):
        condition = plan.condition(edge)
        if condition is None:
            plain = plain or edge
        elif not exhausted and _holds(condition, node, state):
            return edge
    return plain


def _holds(condition: Expression, node: Node, state: FlowState) -> bool:
    try:
        return bool(condition.evaluate(_values(state)))
    except ExpressionError:
        message = f"A condition after {node.name!r} has no value for this message."
        raise FlowFailed(message) from None


def _values(state: FlowState) -> dict[str, Any]:
    """Return the values of the names in expressions (`check.NAMES`)."""
    workflow = state.get("workflow") or {}
    return {
        "message": state["message"],
        "outputs": state.get("outputs", {}),
        "inputs": state.get("inputs", {}),
        "steps": workflow.get("steps", {}),
        "turn": workflow.get("turn", 0),
    }


def _sources(state: FlowState) -> list[Source]:
    """Return what was found so far, each passage once."""
    sources = {(source["id"], source["text"]): source for source in state.get("sources", [])}
    return [msgspec.convert(source, Source) for source in sources.values()]
