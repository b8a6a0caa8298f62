"""The server in a thread of its own, for tests without an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Self

from tests.support.deadline import DEADLINE
from tests.support.model_server.replies import ModelRequest
from tests.support.model_server.scripts import ReplyLike, default_script
from tests.support.model_server.server import ModelServer


class ThreadedModelServer:
    """The same server for synchronous code: a context manager that runs its own event loop in a
    thread.
    """

    def __init__(
        self,
        script: ReplyLike = default_script,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        models: Sequence[str] = ("gpt-4o-mini",),
    ) -> None:
        """Prepare; see ``ModelServer``. Gates may be set from any thread."""
        self.server = ModelServer(script, host=host, port=port, models=models, poll_gates=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread()

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        """Stop."""
        self.stop()

    @property
    def port(self) -> int:
        """The port, known once the server has started."""
        return self.server.port

    @property
    def base_url(self) -> str:
        """The URL for ``OPENAI_BASE_URL``: "http://127.0.0.1:PORT/v1"."""
        return self.server.base_url

    @property
    def requests(self) -> list[ModelRequest]:
        """The chat requests in order of arrival."""
        return self.server.requests

    @property
    def script_errors(self) -> list[BaseException]:
        """Exceptions that the script raised."""
        return self.server.script_errors

    def set_script(self, script: ReplyLike) -> None:
        """Use another script from the next request on."""
        self.server.set_script(script)

    def start(self) -> Self:
        """Start the thread and return when the server listens; an error there is raised here."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._loop.run_forever, name="model-server", daemon=True
            )
            self._thread.start()
            try:
                self._run(self.server.start())
            except BaseException:
                self._end()
                raise
        return self

    def stop(self) -> None:
        """Stop the server and its thread. May be repeated."""
        if self._loop is not None:
            try:
                self._run(self.server.stop())
            finally:
                self._end()

    def wait_until(self, predicate: Callable[[], bool], timeout: float = DEADLINE) -> None:
        """Wait until the predicate, called in the server's thread, holds; raises TimeoutError."""
        self._run(self.server.wait_until(predicate, timeout))

    def wait_requests(self, count: int, timeout: float = DEADLINE) -> list[ModelRequest]:
        """Wait until so many chat requests have arrived, and return all of them."""
        self.wait_until(lambda: len(self.requests) >= count, timeout)
        return list(self.requests)

    def wait_ended(self, number: int, timeout: float = DEADLINE) -> ModelRequest:
        """Wait until request ``number`` (from 0) has arrived and ended, and return it."""
        self.wait_until(
            lambda: len(self.requests) > number and self.requests[number].ended, timeout
        )
        return self.requests[number]

    def _run(self, work: Coroutine[Any, Any, object]) -> None:
        """Run a coroutine in the server's thread and wait for its end."""
        if self._loop is None:
            work.close()
            raise RuntimeError("the server is not running")
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        """End the thread and its loop."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()
