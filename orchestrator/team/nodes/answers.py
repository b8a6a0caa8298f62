"""Those who write: a specialist's draft, the primary specialist's answer, the synthesis."""

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
"""Earlier messages of the conversation that a model is shown."""


def draft_node(name: str) -> Node:
    """A node in which specialist `name` works out its part, for others to use."""

    async def draft(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
        context, route = runtime.context, route_of(state)
        agent = context.team[name]
        question = route.part(name, state["question"])
        sources = await look_up(context, name, question)
        prompt = answer_prompt(
            specialist_prompt(agent), sources, _earlier(state, name), context.profile
        )
        text = await ask(
            context.model,
            conversation(prompt, state.get("history", []), question),
            agent.max_tokens,
        )
        context.emit(Progress(value=0.5, stage="generating", message=f"{name} has contributed."))
        if name != route.primary:
            context.emit(
                Interaction(
                    source=name, target=route.primary, kind="return", query=question, response=text
                )
            )
        return {"drafts": [msgspec.to_builtins(Draft(agent=name, question=question, text=text))]}

    return draft


def _earlier(state: TeamState, name: str) -> list[Draft]:
    """What others contributed before: empty in a first parallel round, everything in a sequence or a debate."""
    return [draft for draft in drafts_of(state) if draft.agent != name]


def draft_failed(name: str) -> Node:
    """The error handler of a drafting node: the others go on, and the answer will say what is missing."""

    async def failed(state: TeamState, error: NodeError) -> Command[str]:
        return Command(update={"drafts": [_missing(name, state, error)]}, goto="coordinator")

    return failed


def answer_failed(name: str) -> Node:
    """The error handler of an answering specialist: the synthesis answers from what there is."""

    async def failed(state: TeamState, error: NodeError) -> Command[str]:
        return Command(update={"drafts": [_missing(name, state, error)]}, goto=SYNTHESIS)

    return failed


def _missing(name: str, state: TeamState, error: NodeError) -> dict[str, Any]:
    """A draft that says why there is none. A run whose budget is used up has no one left to go on."""
    if isinstance(error.error, BudgetExceeded):
        raise error.error
    question = route_of(state).part(name, state["question"])
    told: dict[str, Any] = msgspec.to_builtins(
        Draft(agent=name, question=question, error=describe(error.error).message)
    )
    return told


def answer_node(name: str) -> Node:
    """A node in which specialist `name` answers the user."""

    async def answer(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
        agent = runtime.context.team[name]
        return await _write(state, runtime, name, specialist_prompt(agent), agent.max_tokens)

    return answer


async def synthesize(state: TeamState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
    """One answer out of all drafts."""
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
    text = await ask(
        context.model, conversation(prompt, state.get("history", []), state["question"]), limit
    )
    if note := missing_note(drafts):
        await adispatch_custom_event("agent_chunk", {"text": note})
    return {"answer": joined([text, note]), "answered_by": name}


def missing_note(drafts: Sequence[Draft]) -> str:
    """What the answer says about specialists who could not contribute; empty where all did."""
    lines = [
        f"Missing: the {d.agent} specialist could not contribute. {d.error}"
        for d in drafts
        if d.error
    ]
    return "\n".join(lines)


def conversation(
    prompt: str, history: Sequence[Mapping[str, str]], question: str
) -> list[BaseMessage]:
    """What a model is asked: the prompt, the end of the conversation so far, the question."""
    earlier = [
        AIMessage(m["content"]) if m["role"] == "assistant" else HumanMessage(m["content"])
        for m in history[-HISTORY:]
    ]
    return [SystemMessage(prompt), *earlier, HumanMessage(question)]
