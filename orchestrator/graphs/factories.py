"""Graphs that a function makes, in all the shapes that LangGraph's server accepts.

A factory takes nothing, a `config`, a `runtime`, or both. Parameters are told apart by their
annotations, or by their names if they have none. A factory is a plain or an asynchronous function,
or a context manager of either kind. It makes a graph, a builder, or another runnable.
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

Supply = Literal["config", "runtime"]
"""What a parameter of a factory is supplied with."""


class Factory:
    """A function that makes a graph.

    Raises `TypeError` if it has a required parameter that is neither a config nor a runtime.
    """

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
        """Return the graph if the function takes nothing and returns one; else None.

        None means that each run gets a graph of its own. Raises `TypeError` if the function
        returns something else, and whatever the function raises.
        """
        if self._takes or self._is_generator or inspect.iscoroutinefunction(self._function):
            return None
        try:
            made = self._function()
        except RuntimeError as error:
            if "event loop" in str(error):  # what it makes belongs to the loop of a run
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
        """Yield a graph for one run. What the function holds is released when the block ends."""
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
        """Leave the context manager. A failure is logged, and does not change how the run ends."""
        trace = error.__traceback__ if error is not None else None
        try:
            await stack.__aexit__(type(error) if error else None, error, trace)
        except Exception as failure:
            if failure is not error:
                log.exception(
                    "a graph's factory failed to release its resources", extra={"graph": self._name}
                )

    def _arguments(
        self,
        config: RunnableConfig,
        context: Mapping[str, Any],
        store: BaseStore | None,
    ) -> dict[str, Any]:
        arguments: dict[str, Any] = {}
        for name, supply in self._takes.items():
            if supply == "config":
                arguments[name] = config
                continue
            parameters = get_args(self._annotations.get(name))  # ServerRuntime[Context]
            arguments[name] = _ExecutionRuntime(
                access_context="threads.create_run",
                user=config.get("configurable", {}).get("langgraph_auth_user"),
                store=store,  # type: ignore[arg-type]
                context=context_of(parameters[0] if parameters else None, context),
            )
        return arguments


def _annotations(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(inspect.unwrap(function))
    except Exception:  # names that only a type checker knows, or not a function
        return dict(getattr(function, "__annotations__", {}))


def _parameters(
    name: str,
    function: Callable[..., Any],
    annotations: Mapping[str, Any],
) -> dict[str, Supply]:
    """Return what a function's parameters are supplied with, by name. Raises `TypeError`."""
    takes: dict[str, Supply] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        annotation = annotations.get(parameter.name)
        supply = _by_name(parameter.name) if annotation is None else _by_annotation(annotation)
        if supply is not None:
            takes[parameter.name] = supply
        elif parameter.default is parameter.empty:
            raise TypeError(
                f"{name} takes {parameter.name!r}; a factory takes a config or a runtime"
            )
    return takes


def _by_name(name: str) -> Supply:
    """Return what a parameter without an annotation is supplied with."""
    return "runtime" if "runtime" in name else "config"


def _by_annotation(annotation: Any) -> Supply | None:
    """Return what an annotation asks for: a runtime, or a `RunnableConfig` or other mapping."""
    spelled = str(annotation)  # it may be a string whose names cannot be resolved here
    if "Runtime" in spelled:
        return "runtime"
    words = ("Config", "dict", "Dict", "Mapping", "Any")
    return "config" if any(word in spelled for word in words) else None


def _is_context_manager(made: Any) -> bool:
    managed = hasattr(made, "__aenter__") or hasattr(made, "__enter__")
    return managed and not isinstance(made, Runnable | StateGraph)


def as_graph(name: str, made: Any) -> Graph:
    """Return a graph, compiled from a builder or made of a runnable. Raises `TypeError`."""
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
    """Return a graph of one node that takes what the runnable takes."""

    async def answer(value: Any, config: RunnableConfig) -> Any:
        return await runnable.ainvoke(value, config)

    answer.__name__ = name
    answer.__annotations__ = {"value": _input_type(runnable), "config": RunnableConfig}
    graph: Graph = entrypoint()(answer)
    graph.name = name
    return graph


def _input_type(runnable: Runnable[Any, Any]) -> Any:
    schema: Any = runnable.get_input_schema()
    root = schema.model_fields.get("root")
    return Annotated[schema, AS_MAPPING] if root is None else root.annotation
