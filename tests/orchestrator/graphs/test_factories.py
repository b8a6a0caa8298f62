"""Functions that make graphs, in all shapes, entered for each run and left when it has ended."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.auth.types import BaseUser
from langgraph_sdk.runtime import ServerRuntime

from antiphon.orchestrator.errors import BadContext
from antiphon.orchestrator.graphs.factories import Factory, as_graph

CONFIG: RunnableConfig = {"configurable": {"word": "configured"}}
STORE = InMemoryStore()


@dataclass
class Words:
    word: str
    times: int = 1


def build(text: str) -> Any:
    async def say(state: MessagesState) -> dict[str, Any]:
        return {"messages": [AIMessage(text)]}

    return StateGraph(MessagesState).add_node("say", say).add_edge(START, "say")


def word_of(config: Any) -> str:
    return str(config["configurable"]["word"])


# -- shapes -------------------------------------------------------------------------------------


async def coroutine() -> Any:
    await asyncio.sleep(0)
    return build("plain").compile()


def with_config(config: RunnableConfig) -> Any:
    return build(word_of(config))


def with_unannotated(config):  # type: ignore[no-untyped-def]
    return build(word_of(config)).compile()


def with_dictionary(settings: dict[str, Any]) -> Any:
    return build(word_of(settings)).compile()


def with_optional(config: RunnableConfig | None = None) -> Any:
    return build(word_of(config)).compile()


async def with_config_later(config: "RunnableConfig") -> Any:  # noqa: UP037
    return build(word_of(config)).compile()


@contextmanager
def managed(config: RunnableConfig) -> Iterator[Any]:
    yield build(word_of(config)).compile()


@asynccontextmanager
async def managed_later(config: RunnableConfig) -> AsyncIterator[Any]:
    await asyncio.sleep(0)
    yield build(word_of(config))


async def generating(config: RunnableConfig) -> AsyncIterator[Any]:
    yield build(word_of(config)).compile()


def generating_plainly(config: Mapping[str, Any]) -> Iterator[Any]:
    yield build(word_of(config)).compile()


def giving_a_manager(config: RunnableConfig) -> Any:
    return managed_later(config)


async def with_runtime(runtime: ServerRuntime[Words]) -> Any:
    running = runtime.execution_runtime
    assert running is not None
    assert (runtime.access_context, runtime.store) == ("threads.create_run", STORE)
    return build(running.context.word * running.context.times)


def with_both(config: RunnableConfig, runtime: ServerRuntime) -> Any:  # type: ignore[type-arg]
    running: Any = runtime.execution_runtime
    return build(f"{word_of(config)} {running.context['word']}")


def with_runtime_by_name(runtime, model: str = "gpt"):  # type: ignore[no-untyped-def]
    return build(runtime.execution_runtime.context["word"] + model)


class Maker:
    def __call__(self, config: RunnableConfig) -> Any:
        return build(word_of(config))


async def said(factory: Any) -> str:
    """What the graph of a factory says in one run."""
    async with Factory("made", factory).opened(
        CONFIG, {"word": "given", "times": 2}, STORE
    ) as graph:
        state = await graph.ainvoke({"messages": [("user", "hi")]})
    return str(state["messages"][-1].text)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        (coroutine, "plain"),
        (with_config, "configured"),
        (with_unannotated, "configured"),
        (with_dictionary, "configured"),
        (with_optional, "configured"),
        (with_config_later, "configured"),
        (managed, "configured"),
        (managed_later, "configured"),
        (generating, "configured"),
        (generating_plainly, "configured"),
        (giving_a_manager, "configured"),
        (with_runtime, "givengiven"),
        (with_both, "configured given"),
        (with_runtime_by_name, "givengpt"),
        (Maker(), "configured"),
        (functools.partial(with_config), "configured"),
        (lambda config: build(word_of(config)), "configured"),
    ],
)
async def test_a_factory_of_any_shape_makes_the_graph_of_a_run(factory: Any, text: str) -> None:
    assert Factory("made", factory).made_once() is None
    assert await said(factory) == text


async def test_a_factory_that_takes_nothing_is_called_once_at_the_start() -> None:
    made = Factory("made", lambda: build("once")).made_once()
    assert made is not None
    assert (await made.ainvoke({"messages": []}))["messages"][-1].text == "once"


def test_a_factory_that_needs_the_loop_of_its_run_is_called_in_it() -> None:
    def needing() -> Any:
        asyncio.get_running_loop()
        return build("looped")

    assert Factory("made", needing).made_once() is None
    assert asyncio.run(said(needing)) == "looped"


@pytest.mark.filterwarnings("error")
def test_a_plain_function_that_gives_a_coroutine_leaves_none_behind() -> None:
    def plainly() -> Any:
        return coroutine()

    assert Factory("made", plainly).made_once() is None
    assert asyncio.run(said(plainly)) == "plain"


@pytest.mark.parametrize(
    ("factory", "told"),
    [
        (lambda: 7, "made is a int, not a LangGraph graph"),
        (lambda model: None, None),
    ],
)
async def test_what_is_made_must_be_a_graph(factory: Any, told: str | None) -> None:
    with pytest.raises(TypeError, match=told):
        Factory("made", factory).made_once()
        await said(factory)


def test_a_factory_that_takes_something_else_is_refused_at_the_start() -> None:
    def needy(model: str) -> Any: ...

    with pytest.raises(
        TypeError, match="made takes 'model'; a factory takes a config or a runtime"
    ):
        Factory("made", needy)


async def test_the_context_that_a_runtime_is_annotated_with_is_checked() -> None:
    with pytest.raises(BadContext, match="word"):
        async with Factory("made", with_runtime).opened(CONFIG, {}, STORE):
            pass


async def test_the_user_of_the_config_is_the_users_of_the_runtime() -> None:
    seen: list[BaseUser | None] = []

    def factory(runtime: ServerRuntime) -> Any:  # type: ignore[type-arg]
        seen.append(runtime.user)
        with pytest.raises(PermissionError):
            runtime.ensure_user()
        return build("x")

    await said(factory)
    assert seen == [None]


# -- leaving ------------------------------------------------------------------------------------


class Held:
    """What a factory holds while its graph runs."""

    def __init__(self, failing: bool = False) -> None:
        self.seen: list[str] = []
        self.failing = failing

    @asynccontextmanager
    async def factory(self) -> AsyncIterator[Any]:
        self.seen.append("open")
        try:
            yield build("held")
        except ValueError as error:
            self.seen.append(str(error))
            raise
        finally:
            self.seen.append("closed")
            if self.failing:
                raise OSError("the connection was gone")


async def test_what_a_factory_holds_is_released_after_the_run() -> None:
    held = Held()
    async with Factory("made", held.factory).opened({}, {}, None):
        assert held.seen == ["open"]
    assert held.seen == ["open", "closed"]


async def test_a_failure_of_the_run_is_seen_by_the_factory_and_stays_the_runs() -> None:
    held = Held(failing=True)
    with pytest.raises(ValueError, match="the run's own"):
        async with Factory("made", held.factory).opened({}, {}, None):
            raise ValueError("the run's own")
    assert held.seen == ["open", "the run's own", "closed"]


async def test_a_failure_to_release_does_not_undo_the_run(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with Factory("made", Held(failing=True).factory).opened({}, {}, None):
            pass
    assert "failed to release its resources" in caplog.text


async def test_a_factory_cannot_swallow_the_failure_of_a_run() -> None:
    @asynccontextmanager
    async def swallowing() -> AsyncIterator[Any]:
        with suppress(Exception):
            yield build("x")

    with pytest.raises(ValueError, match="seen"):
        async with Factory("made", swallowing).opened({}, {}, None):
            raise ValueError("seen")


async def test_a_run_that_is_cancelled_releases_too() -> None:
    held, inside = Held(), asyncio.Event()

    async def run() -> None:
        async with Factory("made", held.factory).opened({}, {}, None):
            inside.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held.seen == ["open", "closed"]


# -- other runnables ----------------------------------------------------------------------------


async def test_other_runnables_are_graphs_too() -> None:
    bound = build("bound").compile().bind().with_config(tags=["mine"])
    assert as_graph("g", bound).config["tags"] == ["mine"]
    assert (await as_graph("g", bound).ainvoke({"messages": []}))["messages"][-1].text == "bound"
    plain = as_graph("shouting", RunnableLambda(lambda text: text.upper()))
    assert (plain.name, await plain.ainvoke("hi")) == ("shouting", "HI")
    assert as_graph("named", build("x")).name == "named"
