"""The nodes that write: a specialist's draft, the primary specialist's answer, the synthesis."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langgraph.errors import NodeError
from langgraph.runtime import Runtime
from langgraph.types import Command

from antiphon.orchestrator.budget import BudgetExceeded
from antiphon.orchestrator.errors import describe
from antiphon.orchestrator.events import Interaction, Progress
from antiphon.orchestrator.models import ask
from antiphon.orchestrator.recording.texts import joined
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.nodes.retrieval import look_up
from antiphon.orchestrator.team.prompts import SYNTHESIS as SYNTHESIS_PROMPT
from antiphon.orchestrator.team.prompts import Draft, answer_prompt, specialist_prompt
from antiphon.orchestrator.team.state import TeamState, drafts_of, route_of, sources_of
from antiphon.orchestrator.team.team import SYNTHESIS

Node = Callable[..., Awaitable[Any]]
HISTORY = 12
"""Earlier messages of the conversation that a prompt contains."""


def draft_node(name: str) -> Node:
    """Return a node in which specialist `name` drafts its part for others to use."""

    async def draft(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
        context, route = runtime.context, route_of(state)
        agent = context.team[name]
        question = route.part(name, state["question"])
        sources = await look_up(context, name, question)
        drafts = _drafts_of_others(state, name)
        prompt = answer_prompt(specialist_prompt(agent), sources, drafts, context.profile)
        messages = conversation(prompt, state.get("history", []), question)
        text = await ask(context.model, messages, agent.max_tokens)
        context.emit(Progress(value=0.5, stage="generating", message=f"{name} has contributed."))
        if name != route.primary:
            contribution = Interaction(
                source=name,
                target=route.primary,
                kind="return",
                query=question,
                response=text,
            )
            context.emit(contribution)
        return {"drafts": [msgspec.to_builtins(Draft(agent=name, question=question, text=text))]}

    return draft


def _drafts_of_others(state: TeamState, name: str) -> list[Draft]:
    """Return what others contributed before: nothing in the first round of parallel drafts."""
    return [draft for draft in drafts_of(state) if draft.agent != name]


def draft_failed(name: str) -> Node:
    """Return the error handler of a drafting node.

    The others go on, and the answer reports what is missing.
    """

    async def failed(state: TeamState, error: NodeError) -> Command[str]:
        return Command(update={"drafts": [_missing(name, state, error)]}, goto="coordinator")

    return failed


def answer_failed(name: str) -> Node:
    """Return the error handler of an answering specialist: the synthesis answers instead."""

    async def failed(state: TeamState, error: NodeError) -> Command[str]:
        return Command(update={"drafts": [_missing(name, state, error)]}, goto=SYNTHESIS)

    return failed


def _missing(name: str, state: TeamState, error: NodeError) -> dict[str, Any]:
    """Return a draft with the reason why it has no text.

    Raises `BudgetExceeded` again: if the run's budget is used up, no other agent can go on.
    """
    if isinstance(error.error, BudgetExceeded):
        raise error.error
    question = route_of(state).part(name, state["question"])
    draft = Draft(agent=name, question=question, error=describe(error.error).message)
    fields: dict[str, Any] = msgspec.to_builtins(draft)
    return fields


def answer_node(name: str) -> Node:
    """Return a node in which specialist `name` answers the user."""

    async def answer(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
        agent = runtime.context.team[name]
        return await _write(state, runtime, name, specialist_prompt(agent), agent.max_tokens)

    return answer


async def synthesize(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
    """Combine all drafts into one answer."""
    primary = route_of(state).primary
    runtime.context.emit(
        Interaction(source=primary, target=SYNTHESIS, kind="handoff", query=state["question"])
    )
    limit = sum(agent.max_tokens for agent in runtime.context.team)
    return await _write(state, runtime, SYNTHESIS, SYNTHESIS_PROMPT, limit)


async def _write(
    state: TeamState,
    runtime: Runtime[TeamContext],
    name: str,
    instructions: str,
    limit: int,
) -> dict[str, Any]:
    context, drafts = runtime.context, drafts_of(state)
    context.emit(Progress(value=0.6, stage="generating", message="Generating the answer…"))
    prompt = answer_prompt(instructions, sources_of(state), drafts, context.profile)
    messages = conversation(prompt, state.get("history", []), state["question"])
    text = await ask(context.model, messages, limit)
    if note := missing_note(drafts):
        await adispatch_custom_event("agent_chunk", {"text": note})
    return {"answer": joined([text, note]), "answered_by": name}


def missing_note(drafts: Sequence[Draft]) -> str:
    """Return a note on specialists that could not contribute; empty if all did."""
    lines = []
    for draft in drafts:
        if draft.error:
            note = f"Missing: the {draft.agent} specialist could not contribute. {draft.error}"
            lines.append(note)
    return "\n".join(lines)


def conversation(
    prompt: str, history: Sequence[Mapping[str, str]], question: str
) -> list[BaseMessage]:
    """Return the messages for a model: the prompt, the end of the conversation, the question."""
    earlier = [
        (AIMessage if message["role"] == "assistant" else HumanMessage)(message["content"])
        for message in history[-HISTORY:]
    ]
    return [SystemMessage(prompt), *earlier, HumanMessage(question)]
