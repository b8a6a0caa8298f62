"""What the nodes of a flow do, with the functions of the built-in team: routing, retrieval, asking the model."""

from __future__ import annotations

import operator
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypedDict

import msgspec
from langchain_core.callbacks import adispatch_custom_event
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.runtime import Runtime
from langgraph.types import interrupt

from antiphon.data.errors import AntiphonError
from antiphon.orchestrator.clock import Clock
from antiphon.orchestrator.events import Interaction, Progress, WorkflowUpdate
from antiphon.orchestrator.flows.check import Plan
from antiphon.orchestrator.flows.definition import AgentConfig, Edge, Node, SynthesisConfig, pointer
from antiphon.orchestrator.flows.language.expressions import ExpressionError, parse
from antiphon.orchestrator.models import StructuredOutput, ask
from antiphon.orchestrator.team.nodes.answers import conversation
from antiphon.orchestrator.team.nodes.classifier import choose
from antiphon.orchestrator.team.nodes.context import TeamContext
from antiphon.orchestrator.team.nodes.retrieval import look_up
from antiphon.orchestrator.team.prompts import SYNTHESIS as SYNTHESIS_PROMPT
from antiphon.orchestrator.team.prompts import Draft, Source, flow_prompt, specialist_prompt, step_prompt
from antiphon.orchestrator.team.routing import Candidate, route_schema
from antiphon.orchestrator.values import plain

DEFAULT_TOKENS = 1024


def merged(left: dict[str, Any], right: dict[str, Any]) -> dict[str, Any]:
    """Two dictionaries as one: what parallel nodes write stands side by side."""
    return {**left, **right}


def newer(left: str, right: str) -> str:
    """Of two texts the one that was said last."""
    return right


class FlowState(TypedDict, total=False):
    """What nodes read and write; plain JSON types only.

    `outputs` holds what each node gave last; `passes` how often conditions with `max_rounds` were passed; `workflow`
    where a conversation in steps is: `{id, at, turn, steps: {step: {message, response}}, done}`.
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


Run = Callable[[FlowState, Runtime[TeamContext]], Awaitable[dict[str, Any]]]


class FlowFailed(AntiphonError):
    """An expression of the flow has no value for this message."""

    code = "FLOW_FAILED"
    message = "The flow could not go on."


def values_of(state: FlowState) -> dict[str, Any]:
    """What expressions may speak of."""
    workflow = state.get("workflow") or {}
    return {
        "message": state["message"],
        "outputs": state.get("outputs", {}),
        "inputs": state.get("inputs", {}),
        "steps": workflow.get("steps", {}),
        "turn": workflow.get("turn", 0),
    }


class FlowNodes:
    """Makes the functions of a plan's nodes."""

    def __init__(self, plan: Plan, model: Any, clock: Clock) -> None:
        self._plan = plan
        self._model = model
        self._clock = clock

    def function(self, node: Node) -> Run:
        """What a node does."""
        make: Callable[[Node], Run] = getattr(self, f"_{node.type}")
        return make(node)

    def way(self, node: Node, state: FlowState) -> Edge | None:
        """The way that is gone from a node: the first whose condition holds, else the one without a condition."""
        ways = self._plan.flow.out(node.id)
        rounds = getattr(node.config, "max_rounds", None)
        tired = rounds is not None and state.get("passes", {}).get(node.id, 0) > rounds
        for edge in ways:
            condition = self._plan.condition(edge)
            if condition is not None and not tired and self._holds(node, condition.evaluate, state):
                return edge
        return next((edge for edge in ways if edge.condition is None), None)

    def _holds(self, node: Node, evaluate: Callable[[Mapping[str, Any]], Any], state: FlowState) -> bool:
        try:
            return bool(evaluate(values_of(state)))
        except ExpressionError:
            raise FlowFailed(f"A condition behind {node.name!r} has no value for this message.") from None

    def _text(self, node: Node, setting: str, state: FlowState) -> str:
        try:
            return self._plan.template(node.id, setting).render(values_of(state))
        except ExpressionError:
            raise FlowFailed(f"A template of {node.name!r} has no value for this message.") from None

    def _said(self, node: Node, text: str) -> dict[str, Any]:
        """What a node that has said something leaves behind."""
        if self._plan.answers(node):
            return {"outputs": {node.id: text}, "answer": text, "answered_by": node.id}
        return {"outputs": {node.id: text}, "said": text}

    # -- the types of nodes -------------------------------------------------------------------------------------

    def _input(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            return {"outputs": {node.id: state["message"]}}

        return run

    def _parallel(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            return {}

        return run

    def _condition(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            return {"passes": {node.id: state.get("passes", {}).get(node.id, 0) + 1}}

        return run

    def _classifier(self, node: Node) -> Run:
        profiles: list[Candidate] = [(one.name, one.description, tuple(one.examples)) for one in node.config.classes]
        router = StructuredOutput(self._model, route_schema([name for name, _, _ in profiles]))

        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            text = self._text(node, "text", state)
            runtime.context.emit(Progress(value=0.1, stage="agent_routing", message=f"{node.name}…"))
            route = await choose(router, text, profiles)
            chosen = Interaction(source=node.id, target=route.primary, kind="route", query=text, reason=route.reason)
            runtime.context.emit(chosen)
            return self._said(node, route.primary)

        return run

    def _retriever(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            query = self._text(node, "query", state)
            runtime.context.emit(Progress(value=0.3, stage="rag_retrieval", message=f"{node.name}…"))
            found = [msgspec.to_builtins(source) for source in await look_up(runtime.context, node.id, query)]
            return {"outputs": {node.id: found}, "sources": found}

        return run

    def _agent(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            config: AgentConfig = node.config
            own = self._text(node, "prompt", state)
            instructions = specialist_prompt(runtime.context.team[config.agent]) if config.agent else ""
            instructions = "\n".join(filter(None, (instructions, own)))
            text = await self._ask(node, state, runtime, instructions, self._text(node, "question", state))
            draft = Draft(agent=node.id, question=state["message"], text=text)
            return {**self._said(node, text), "drafts": [msgspec.to_builtins(draft)]}

        return run

    def _synthesis(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            config: SynthesisConfig = node.config
            own = self._text(node, "prompt", state) if config.prompt else SYNTHESIS_PROMPT
            question = self._text(node, "question", state)
            return self._said(node, await self._ask(node, state, runtime, own, question, _drafts(state)))

        return run

    def _template(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            return self._said(node, await _speak(self._text(node, "template", state)))

        return run

    def _tool(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            arguments = {name: self._text(node, f"arguments/{pointer(name)}", state) for name in node.config.arguments}
            tool = self._tools(node, runtime.context)[node.config.tool]
            return self._said(node, await _speak(str(await tool.ainvoke(arguments))))

        return run

    def _approval(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            question = {"question": self._text(node, "question", state), "options": node.config.options or None}
            answer = plain(interrupt(question))
            return self._said(node, answer if isinstance(answer, str) else msgspec.json.encode(answer).decode())

        return run

    def _output(self, node: Node) -> Run:
        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            workflow = state.get("workflow") or {}
            ended: dict[str, Any] = {}
            if at := workflow.get("at"):
                _completed(runtime.context, workflow["id"], at)
                ended = {"workflow": {**workflow, "done": True}}
            if node.config.text is None and "answer" in state:
                return {"outputs": {node.id: state["answer"]}, **ended}
            own = self._text(node, "text", state) if node.config.text is not None else _last_said(state)
            text = await _speak(own)
            return {"outputs": {node.id: text}, "answer": text, "answered_by": node.id, **ended}

        return run

    def _step(self, node: Node) -> Run:
        last = not self._plan.flow.out(node.id)

        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            workflow = state["workflow"]
            goal, guidelines = self._text(node, "goal", state), self._text(node, "guidelines", state)
            instructions = step_prompt(node.name, goal, guidelines)
            text = await self._ask(node, state, runtime, instructions, state["message"])
            if last:
                _completed(runtime.context, workflow["id"], node.id)
            turn = workflow["turn"] + 1 if workflow["at"] == node.id else 1
            exchange = {node.id: {"message": state["message"], "response": text}}
            steps = merged(workflow["steps"], exchange)
            now = {**workflow, "at": node.id, "turn": turn, "steps": steps, "done": last}
            return {**self._said(node, text), "workflow": now}

        return run

    def enter(self, node: Node) -> Run:
        """What is told before a step begins."""

        async def run(state: FlowState, runtime: Runtime[TeamContext]) -> dict[str, Any]:
            _entered(runtime.context, state["workflow"], node)
            return {}

        return run

    async def _ask(
        self,
        node: Node,
        state: FlowState,
        runtime: Runtime[TeamContext],
        instructions: str,
        question: str,
        drafts: Sequence[Draft] = (),
    ) -> str:
        """What the model says, with all that was found so far as its sources."""
        context = runtime.context
        context.emit(Progress(value=0.6, stage="generating", message=f"{node.name}…"))
        prompt = flow_prompt(instructions, _sources(state), drafts, context.profile)
        messages = conversation(prompt, state.get("history", []), question)
        return await ask(context.model, messages, node.config.tokens or DEFAULT_TOKENS)

    def _tools(self, node: Node, context: TeamContext) -> dict[str, BaseTool]:
        async def calculate(expression: str) -> str:
            """Work out an arithmetic expression."""
            try:
                return str(parse(expression, ()).evaluate({}))
            except ExpressionError as error:
                return f"cannot be worked out: {error.message}"

        async def search(query: str) -> str:
            """Search the knowledge base."""
            return "\n\n".join(f"[{one.id}] {one.text}" for one in await look_up(context, node.id, query))

        async def count_words(text: str) -> str:
            """Count words."""
            return str(len(text.split()))

        async def today() -> str:
            """Tell the date, UTC."""
            return iso_date(self._clock())

        functions = (calculate, search, count_words, today)
        return {one.__name__: StructuredTool.from_function(coroutine=one) for one in functions}


def iso_date(at: int) -> str:
    """The date of a time in milliseconds since the epoch."""
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()


def _last_said(state: FlowState) -> str:
    """What the nodes before an output have said last, in this turn or in the step that it ends."""
    workflow = state.get("workflow") or {"at": None, "steps": {}}
    step: str = workflow["steps"].get(workflow["at"], {}).get("response", "")
    return state.get("said") or step


def _sources(state: FlowState) -> list[Source]:
    """What was found so far, each passage once."""
    found = {(one["id"], one["text"]): one for one in state.get("sources", [])}
    return [msgspec.convert(one, Source) for one in found.values()]


def _drafts(state: FlowState) -> list[Draft]:
    """What each agent said last, in order."""
    latest = {one["agent"]: one for one in state.get("drafts", [])}
    return [msgspec.convert(one, Draft) for one in latest.values()]


async def _speak(text: str) -> str:
    """Say a text that no model has streamed."""
    if text:
        await adispatch_custom_event("agent_chunk", {"text": text})
    return text


def _entered(context: TeamContext, workflow: Mapping[str, Any], node: Node) -> None:
    """Tell that the conversation is in a step now: for the first time, still, or come from another one."""
    id_, at = workflow["id"], workflow["at"]
    if at is None:
        update = WorkflowUpdate(workflow_id=id_, status="created", step=node.id, message=f"{node.name} begins.")
    elif at == node.id:
        update = WorkflowUpdate(workflow_id=id_, status="running", step=node.id, message=f"{node.name} goes on.")
    else:
        context.emit(WorkflowUpdate(workflow_id=id_, status="step_completed", step=at))
        update = WorkflowUpdate(
            workflow_id=id_, status="transition", step=node.id, previous=at, message=f"{node.name} begins."
        )
    context.emit(update)


def _completed(context: TeamContext, id_: str, step: str) -> None:
    context.emit(WorkflowUpdate(workflow_id=id_, status="step_completed", step=step))
    context.emit(WorkflowUpdate(workflow_id=id_, status="completed", step=step, message="The workflow is complete."))
