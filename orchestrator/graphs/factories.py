"""Graphs that a function makes, in all the shapes in which LangGraph's server takes them.

A factory takes nothing, or a `config`, a `runtime`, or both, told apart by their annotations, else
by their names. It is a plain or an asynchronous function, or a context manager of either kind, and
gives a graph, a builder, or another runnable.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Annotated, Any, Literal, get_args, get_type_hints

from langchain_core.runnables import Runnable, RunnableBinding, RunnableConfig
from langgraph.func import entrypoint
from langgraph.graph import StateGraph
from langgraph.pregel import Pregel
from langgraph.store.base import BaseStore
from langgraph_sdk.runtime import _ExecutionRuntime  # what `ServerRuntime` stands for in a run

from antiphon.orchestrator.graphs.inputs import AS_MAPPING, Graph, context_of

log = logging.getLogger("antiphon.run")

Given = Literal["config", "runtime"]


class Factory:
    """A function that makes a graph. Raises `TypeError` if it takes what nobody here can give."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        inner = inspect.unwrap(function)
        self._is_generator = inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner)
        if inspect.isasyncgenfunction(function):
            function = asynccontextmanager(function)
        elif inspect.isgeneratorfunction(function):
            function = contextmanager(function)
        self._name = name
        self._function = function
        self._annotations = _annotations(function)
        self._takes = _parameters(name, function, self._annotations)

    def made_once(self) -> Graph | None:
        """The graph, if the function takes nothing and returns one; else each run gets its own.

        Raises `TypeError` if the function returns something else, and whatever it raises.
        """
        if self._takes or self._is_generator or inspect.iscoroutinefunction(self._function):
            return None
        try:
            made = self._function()
        except RuntimeError as error:
            if "event loop" in str(error):  # it makes something that belongs to the loop of its run
                return None
            raise
        if inspect.iscoroutine(made):
            made.close()
            return None
        return None if _is_context_manager(made) else as_graph(self._name, made)

    @asynccontextmanager
    async def opened(
        self, config: RunnableConfig, context: Mapping[str, Any], store: BaseStore | None
    ) -> AsyncIterator[Graph]:
        """A graph for one run: what the function holds is released when the block ends."""
        stack = AsyncExitStack()
        try:
            made = self._function(**self._arguments(config, context, store))
            if inspect.isawaitable(made):
                made = await made
            if _is_context_manager(made):
                if hasattr(made, "__aenter__"):
                    made = await stack.enter_async_context(made)
                else:
                    made = stack.enter_context(made)
            yield as_graph(self._name, made)
        except BaseException as error:
            await self._release(stack, error)
            raise
        await self._release(stack, None)

    async def _release(self, stack: AsyncExitStack, error: BaseException | None) -> None:
        """Leave the context manager. A failure to do so does not change how the run ends."""
        trace = error.__traceback__ if error is not None else None
        try:
            await stack.__aexit__(type(error) if error else None, error, trace)
        except Exception as failure:
            if failure is not error:
                log.exception("a graph's factory did not release all", extra={"graph": self._name})

    def _arguments(
        self,
        config: RunnableConfig,
        context: Mapping[str, Any],
        store: BaseStore | None,
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for name, given in self._takes.items():
            if given == "config":
                arguments[name] = config
                continue
            inside = get_args(self._annotations.get(name))  # ServerRuntime[Context]
            arguments[name] = _ExecutionRuntime(
                access_context="threads.create_run",
                user=config.get("configurable", {}).get("langgraph_auth_user"),
                store=store,  # type: ignore[arg-type]
                context=context_of(inside[0] if inside else None, context),
            )
        return arguments


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(function))
    except Exception:  # names that exist for a type checker only, or no function
        return dict(getattr(function, "__annotations__", {}))


def _parameters(
    name: str,
    function: Callable[..., Any],
    annotations: Mapping[str, Any],
) -> dict[str, Given]:
    """What a function takes, by the names of its parameters."""
    takes: dict[str, Given] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = annotations.get(parameter.name)
        given = _given_by(parameter.name) if annotation is None else _given_for(annotation)
        if given is not None:
            takes[parameter.name] = given
        elif parameter.default is parameter.empty:
            taken = parameter.name
            raise TypeError(f"{name} takes {taken!r}; a factory takes a config or a runtime")
    return takes


def _given_by(name: str) -> Given | None:
    """What a parameter without an annotation means."""
    return "runtime" if "runtime" in name else "config"


def _given_for(annotation: Any) -> Given | None:
    """What an annotation asks for: `ServerRuntime`, `Runtime`; `RunnableConfig`, or a mapping."""
    spelled = str(annotation)  # it may be a text already, whose names are unknown here
    if "Runtime" in spelled:
        return "runtime"
    words = ("Config", "dict", "Dict", "Mapping", "Any")
    return "config" if any(word in spelled for word in words) else None


def _is_context_manager(made: Any) -> bool:
    managed = hasattr(made, "__aenter__") or hasattr(made, "__enter__")
    return managed and not isinstance(made, Runnable | StateGraph)


def as_graph(name: str, made: Any) -> Graph:
    """A graph from what a user calls one: a graph, a builder, a runnable. Raises `TypeError`."""
    if isinstance(made, StateGraph):
        return made.compile(name=name)
    if isinstance(made, Pregel):
        return made
    if isinstance(made, RunnableBinding) and isinstance(made.bound, Pregel) and not made.kwargs:
        return made.bound.with_config(made.config)
    if isinstance(made, Runnable):
        return _around(name, made)
    raise TypeError(f"{name} is a {type(made).__name__}, not a LangGraph graph")


def _around(name: str, runnable: Runnable[Any, Any]) -> Graph:
    """A graph of one node that takes what the runnable takes."""

    async def answer(given: Any, config: RunnableConfig) -> Any:
        return await runnable.ainvoke(given, config)

    answer.__name__ = name
    answer.__annotations__ = {"given": _input_type(runnable), "config": RunnableConfig}
    graph: Graph = entrypoint()(answer)
    graph.name = name
    return graph


def _input_type(runnable: Runnable[Any, Any]) -> Any:
    schema: Any = runnable.get_input_schema()
    root = schema.model_fields.get("root")
    return Annotated[schema, AS_MAPPING] if root is None else root.annotation
