"""A graph that is served: the built-in team, a flow, or a user's LangGraph graph.

A run uses a copy of the graph with its own checkpointer: a graph's own storage is not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import StateGraph
from langgraph.store.base import BaseStore

from antiphon.orchestrator.errors import UnknownAgent
from antiphon.orchestrator.events import AnyEvent
from antiphon.orchestrator.graphs.factories import Factory, as_graph
from antiphon.orchestrator.graphs.inputs import Graph, context_of, form_of
from antiphon.orchestrator.graphs.shape import GraphShape, shape_of
from antiphon.orchestrator.request import HistoryMessage, Request

log = logging.getLogger("antiphon.engine")

OnCrash = Literal["resume", "fail"]
State = Literal["thread", "messages"]
Emit = Callable[[AnyEvent], None]


class Conclusion(NamedTuple):
    """The result of one of our own graphs. The text is empty if it is the text that was shown."""

    text: str
    author: str | None = None
    confidence: float | None = None


def _not_made(*_: Any) -> Any:
    raise RuntimeError("the graph is made for each run: call `made` with it first")


@dataclass(frozen=True)
class ServedGraph:
    """A graph, its input and context, and how its answer is read."""

    name: str
    graph: Graph | None
    """None if a function makes it for each run."""
    shape: GraphShape = field(default_factory=GraphShape)
    make_input: Callable[[Request, list[HistoryMessage], bytes], Any] = _not_made
    """Makes the graph's input from the request, the messages that its state has not seen (the whole
    conversation if it has no state), and the bytes that `leave` returned for the last run."""
    make_context: Callable[[Request, Emit], Any] = lambda _input, _emit: None
    check: Callable[[Request, bool], None] = lambda _input, _first: None
    """Raises `BadInput` or `BadContext` for a request that the graph cannot take. The second
    argument is whether it begins a conversation; if not, the graph may have earlier values."""
    conclude: Callable[[Mapping[str, Any]], Conclusion] | None = None
    """Reads the answer of one of our own graphs from its last state; None for users' graphs, whose
    answer is found in their output."""
    leave: Callable[[Mapping[str, Any]], bytes | None] = lambda _state: None
    """Returns what to keep of the last state for the thread's next run: empty bytes for nothing,
    None to keep what is there."""
    steps: int | None = None
    """The limit of steps; None if the graph itself or the request sets it."""
    on_crash: OnCrash = "resume"
    """Whether a run goes on after its process died, or fails."""
    agents: tuple[str, ...] = field(default=())
    """Agents that a request may choose; empty if the graph decides alone."""
    factory: Factory | None = None
    """Makes the graph for each run; None if there is one graph for all."""
    input: str | None = None
    """The field of the input that takes the message; None to choose it by name and type."""
    state: State = "thread"
    """What a run starts from: the state after the thread's last run, or the messages."""
    description: str | None = None
    store: Mapping[str, Any] | None = None
    """The store's configuration in the `langgraph.json` that lists the graph."""

    def opened(
        self,
        config: RunnableConfig,
        context: Mapping[str, Any] | None = None,
        store: BaseStore | None = None,
    ) -> AbstractAsyncContextManager[Graph]:
        """Return a context manager that yields the graph for one run."""
        if self.factory is not None:
            return self.factory.opened(config, context or {}, store)
        if self.graph is None:
            raise RuntimeError(f"{self.name} has neither a graph nor a factory")
        return nullcontext(self.graph)

    def made(self, graph: Graph) -> ServedGraph:
        """Return a copy for a graph that `opened` has yielded.

        Raises `ValueError` if the graph's input has no field `input`.
        """
        if self.graph is not None:
            return self
        if isinstance(graph.checkpointer, BaseCheckpointSaver):
            log.info(
                "the checkpointer of graph %s is not used: its state is kept in the database",
                self.name,
            )
        form, schema = form_of(graph, self.input), graph.context_schema

        def make_input(request: Request, history: list[HistoryMessage], kept: bytes) -> Any:
            message = HumanMessage(request.message, id=request.message_id)
            return form.fill(message, [*map(_as_message, history)], request.inputs, first=False)

        def check(request: Request, first: bool) -> None:
            first = first or self.state == "messages"
            form.fill(HumanMessage(request.message), (), request.inputs, first)
            context_of(schema, request.context_values)

        return replace(
            self,
            graph=graph,
            shape=shape_of(graph),
            make_input=make_input,
            make_context=lambda request, _emit: context_of(schema, request.context_values),
            check=check,
        )

    def check_agents(self, *names: str | None) -> None:
        """Raise `UnknownAgent` for an agent that the graph does not have. None is ignored."""
        for name in names:
            if name is not None and self.agents and name not in self.agents:
                raise UnknownAgent(
                    f"There is no agent {name!r}; this server has {', '.join(self.agents)}."
                )

    def step_limit(self, requested: int | None) -> int | None:
        """Return the limit of steps of a run; None for LangGraph's own default."""
        if self.steps is not None:
            return self.steps
        own = (self.graph.config or {}).get("recursion_limit") if self.graph is not None else None
        limits = [limit for limit in (own, requested) if limit is not None]
        return min(limits, default=None)


def serve_graph(name: str, graph: Any, **options: Any) -> ServedGraph:
    """Return a user's graph to serve: compiled, a builder, another runnable, or a factory.

    `options` are the fields of `ServedGraph` that an entry of a `langgraph.json` may set. Raises
    `TypeError` for any other object, `ValueError` if the graph's input has no field `input`, and
    whatever a factory raises.
    """
    if isinstance(graph, Runnable | StateGraph) or not callable(graph):
        return ServedGraph(name, None, **options).made(as_graph(name, graph))
    factory = Factory(name, graph)
    if (made := factory.made_once()) is not None:
        return ServedGraph(name, None, **options).made(made)
    return ServedGraph(name, None, factory=factory, **options)


def _as_message(message: HistoryMessage) -> BaseMessage:
    kind = AIMessage if message.role == "assistant" else HumanMessage
    return kind(message.content, id=message.id)
