"""Keeps a graph's `SystemExit` or `KeyboardInterrupt` from ending the process.

asyncio raises these two out of the event loop, whichever task they come from, so argparse in a tool
would end the whole server. A task factory on the loop turns them into an ordinary exception at the
outermost frame of a task. This covers nodes, edges, tools in a `gather`, nested graphs, and what a
thread returns. Only tasks of runs are wrapped.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

T = TypeVar("T")

_INSIDE_RUN: contextvars.ContextVar[bool] = contextvars.ContextVar(
    "antiphon_inside_run", default=False
)


class GraphExit(Exception):
    """A graph raised `SystemExit` or `KeyboardInterrupt`; the message names which."""


def run_context() -> contextvars.Context:
    """Return a copy of the current context for the task of a run.

    Tasks that begin in it cannot end the process.
    """
    context = contextvars.copy_context()
    context.run(_INSIDE_RUN.set, True)
    return context


@contextmanager
def exits_contained() -> Iterator[None]:
    """Install the task factory on the running loop, around an existing one.

    The last user removes it.
    """
    loop = asyncio.get_running_loop()
    installed: Any = loop.get_task_factory()
    factory = installed if isinstance(installed, _Factory) else _Factory(installed)
    factory.users += 1
    loop.set_task_factory(factory)
    try:
        yield
    finally:
        factory.users -= 1
        if factory.users == 0 and loop.get_task_factory() is factory:
            loop.set_task_factory(factory.inner)


class _Factory:
    """Makes tasks as `inner` does (as asyncio does, if None), and wraps those of a run."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.users = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        """Make a task. The loop passes `context` as an option, and `name` from Python 3.13 on."""
        context: Mapping[Any, Any] = options.get("context") or contextvars.copy_context()
        if not context.get(_INSIDE_RUN, False):
            return self._make(loop, coro, **options)
        task = self._make(loop, _contained(coro, context.get(var_child_runnable_config)), **options)
        task.add_done_callback(
            lambda _: coro.close()
        )  # one that was cancelled before it began has not awaited it
        return task

    def _make(self, loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        if self.inner is not None:
            return self.inner(loop, coro, **options)
        return asyncio.Task(coro, loop=loop, **options)


async def _contained(coro: Coroutine[Any, Any, T], config: RunnableConfig | None) -> T:
    """Await a coroutine. `config` is that of the task's runnable; `node_of` reads it here."""
    try:
        return await coro
    except (SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, KeyboardInterrupt) and _may_be_ctrl_c():
            raise
        raise GraphExit(type(error).__name__).with_traceback(error.__traceback__) from None


def node_of(stack: FrameType | None) -> str | None:
    """Return the node of a graph whose task a stack executes.

    Empty for other tasks of a run, None for a task that is not a run's.
    """
    while stack is not None:
        if stack.f_code is _contained.__code__:
            config = stack.f_locals.get("config") or {}
            return str(config.get("metadata", {}).get("langgraph_node", ""))
        stack = stack.f_back
    return None


def _may_be_ctrl_c() -> bool:
    """Return whether Ctrl-C raises `KeyboardInterrupt` here.

    Servers, notebooks and `asyncio.run` handle it in another way.
    """
    is_main = threading.current_thread() is threading.main_thread()
    return is_main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
