"""The threads in which a server runs the plain functions of users' graphs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any


class NodeThreads(ThreadPoolExecutor):
    """A loop's default executor, in which LangGraph and `asyncio.to_thread` run plain functions.

    Python's own has six threads on two cores, so a few slow `requests.get` would block all runs.
    `shutdown` does not wait for functions that never return.
    """

    def __init__(self, threads: int) -> None:
        super().__init__(threads, thread_name_prefix="antiphon-node")

    def submit(self, fn: Callable[..., Any], /, *args: Any, **options: Any) -> Future[Any]:
        """Run a function in a thread."""
        return super().submit(_answer_of, fn, args, options)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End idle threads and forget what has not begun, at once."""
        super().shutdown(wait=False, cancel_futures=True)


def _answer_of(fn: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Return what a function returns.

    An asyncio future cannot hold two exceptions, and its reader would wait for ever.
    """
    try:
        return fn(*args, **options)
    except (StopIteration, GeneratorExit) as error:
        raise RuntimeError(f"a function raised {type(error).__name__}") from error
