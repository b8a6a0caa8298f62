"""What a served graph is: the built-in team, a flow, or any LangGraph graph of the user's.

What is served is copied with the run's own checkpointer, so a graph brings no storage of its own.
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
    """What one of our own graphs ends with; the text is empty if it is what was shown."""

    text: str
    author: str | None = None
    confidence: float | None = None


def _not_made(*_: Any) -> Any:
    raise RuntimeError("the graph is made for each run: `made` knows how to talk to one")


@dataclass(frozen=True)
class ServedGraph:
    """A graph and how to talk to it."""

    name: str
    graph: Graph | None
    """None if a function makes it for each run."""
    shape: GraphShape = field(default_factory=GraphShape)
    make_input: Callable[[Request, list[HistoryMessage], bytes], Any] = _not_made
    """The graph's input, from the request, the messages that its state has not seen (all of the
    conversation so far if it has none), and what the thread's last run has left."""
    make_context: Callable[[Request, Emit], Any] = lambda _input, _emit: None
    check: Callable[[Request, bool], None] = lambda _input, _first: None
    """Raises `BadInput` or `BadContext` for a request that the graph cannot take. The second value
    is whether it begins a conversation: otherwise the graph may have earlier values."""
    conclude: Callable[[Mapping[str, Any]], Conclusion] | None = None
    """How one of our own graphs reports its answer, from its last state; None if it is to be found in the output."""
    leave: Callable[[Mapping[str, Any]], bytes | None] = lambda _state: None
    """What of the last state is kept for the thread's next run: empty for nothing, None to keep what there is."""
    steps: int | None = None
    """How many steps the graph may take; None if the graph itself or the request says so."""
    on_crash: OnCrash = "resume"
    """Whether a run goes on after its process died, or ends as failed."""
    agents: tuple[str, ...] = field(default=())
    """Names that a request may choose; empty where the graph decides alone."""
    factory: Factory | None = None
    """What makes the graph, if it is made for each run."""
    input: str | None = None
    """The field of the graph's input that takes the message, if its name and type do not tell."""
    state: State = "thread"
    """What a run begins from: the state that the thread's last one has left, or its messages."""
    description: str | None = None
    store: Mapping[str, Any] | None = None
    """How the `langgraph.json` that lists the graph configures the store."""

    def opened(
        self,
        config: RunnableConfig,
        context: Mapping[str, Any] | None = None,
        store: BaseStore | None = None,
    ) -> AbstractAsyncContextManager[Graph]:
        """The graph for one run, as long as the block lasts; a factory makes it of what is given."""
        if self.factory is not None:
            return self.factory.opened(config, context or {}, store)
        if self.graph is None:
            raise RuntimeError(f"{self.name} has neither a graph nor a factory")
        return nullcontext(self.graph)

    def made(self, graph: Graph) -> ServedGraph:
        """The same for a graph that `opened` gave. Raises `ValueError` if it has no field `input`."""
        if self.graph is not None:
            return self
        if isinstance(graph.checkpointer, BaseCheckpointSaver):
            log.info(
                "the checkpointer of graph %s is not used: its state is kept in the database",
                self.name,
            )
        form, schema = form_of(graph, self.input), graph.context_schema

        def make_input(given: Request, history: list[HistoryMessage], left: bytes) -> Any:
            message = HumanMessage(given.message, id=given.message_id)
            return form.fill(message, [*map(_as_message, history)], given.inputs, first=False)

        def check(given: Request, first: bool) -> None:
            first = first or self.state == "messages"
            form.fill(HumanMessage(given.message), (), given.inputs, first)
            context_of(schema, given.context_values)

        return replace(
            self,
            graph=graph,
            shape=shape_of(graph),
            make_input=make_input,
            make_context=lambda given, _emit: context_of(schema, given.context_values),
            check=check,
        )

    def check_agents(self, *names: str | None) -> None:
        """Raise `UnknownAgent` for an agent that the graph does not have; None is no choice."""
        for name in names:
            if name is not None and self.agents and name not in self.agents:
                raise UnknownAgent(
                    f"There is no agent {name!r}; this server has {', '.join(self.agents)}."
                )

    def step_limit(self, requested: int | None) -> int | None:
        """How many steps a run may take; None for what the graph or LangGraph takes by itself."""
        if self.steps is not None:
            return self.steps
        own = (self.graph.config or {}).get("recursion_limit") if self.graph is not None else None
        return min((limit for limit in (own, requested) if limit is not None), default=None)


def serve_graph(name: str, graph: Any, **options: Any) -> ServedGraph:
    """Any graph of the user's: compiled, a builder, another runnable, or a factory of one.

    `options` are the fields of `ServedGraph` that an entry of a `langgraph.json` may set. Raises
    `TypeError` for something else, `ValueError` if the graph has no field `input`, and whatever a
    factory raises.
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
