"""Runs the application: the listening socket, the shutdown, and garbage collection.

uvicorn alone would wait for open streams for ever, let a stuck client hold megabytes, and never
notice a client whose network is gone. Nor would it end while a function of a graph blocks the event
loop or a thread. Here, a shutdown disconnects all readers first.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

import uvicorn
from litestar import Litestar

from antiphon.api.app import create_app
from antiphon.api.logs import configure
from antiphon.api.protocol import PatientProtocol, PatientSocket
from antiphon.api.reaper import Reaper
from antiphon.api.settings import Settings
from antiphon.orchestrator.engine.pool import NodeThreads

log = logging.getLogger("antiphon.http")

SEND_BUFFER = 64 * 1024
"""Bytes that the kernel buffers for a client that does not read."""
DEAD_PEER_MS = 30_000
BACKLOG = 4096
CLOSE_SECONDS = 3.0
"""How long a shutdown may take beyond the time for open streams, before it is forced."""
THREAD_SECONDS = 0.5
"""How long the process waits for threads before it exits."""


class Server(uvicorn.Server):
    """A uvicorn server that notifies the engine of a shutdown while streams are still open."""

    def __init__(
        self,
        config: uvicorn.Config,
        app: Litestar,
        settings: Settings,
        on_ready: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._application = app
        self._settings = settings
        self._on_ready = on_ready
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self.reaper: Reaper | None = None
        """Set it for a server that owns its process, which then ends whatever blocks it."""

    @property
    def end_seconds(self) -> float:
        """Maximum time from a signal to the end of the process."""
        return self._settings.drain_seconds + CLOSE_SECONDS

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as uvicorn does while the server runs, and pass them to the reaper."""
        reaping = self.reaper.listening() if self.reaper else contextlib.nullcontext()
        with super().capture_signals(), reaping:
            yield

    @property
    def graphs(self) -> list[str]:
        """The names of the served graphs, the default one first. Available after the start only."""
        return list(self._application.state.services.engine.graphs)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the server, exempt the objects made so far from collection, and call `on_ready`."""
        self._event_loop = asyncio.get_running_loop()
        self._event_loop.set_default_executor(NodeThreads(self._settings.node_threads))
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 1000)
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down at SIGTERM or SIGINT: disconnect all readers, so that they resume elsewhere.

        A second SIGINT does not wait for them. uvicorn would raise the signal again afterwards, and
        the process would end as if it had been killed.
        """
        if self.reaper is not None and not self.should_exit:
            faulthandler.dump_traceback_later(self.end_seconds, exit=True)  # prints what blocks
        services = getattr(self._application.state, "services", None)
        if services is not None and self._event_loop is not None:
            self._event_loop.call_soon_threadsafe(services.engine.drain)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def make_server(
    settings: Settings,
    on_ready: Callable[[], None] = lambda: None,
    graphs: Sequence[Any] | None = None,
) -> Server:
    """Return a server that is not running yet.

    `graphs` are the loaded graphs of the settings; None loads them at the start.
    """
    app = create_app(settings, graphs)
    config = uvicorn.Config(
        app,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=PatientProtocol.within(settings.request_seconds, settings.send_seconds),
        ws=PatientSocket.within(settings.send_seconds),
        ws_per_message_deflate=False,
        ws_max_size=settings.body_bytes,
        ws_ping_interval=20,
        ws_ping_timeout=20,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=int(settings.drain_seconds),
        log_config=None,
        server_header=False,
        lifespan="on",
    )
    return Server(config, app, settings, on_ready)


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket whose connections have small send buffers and detect dead peers.

    Raises `OSError` or `UnicodeError` if the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, UnicodeError):
        listener.close()
        raise
    return listener


def serve(settings: Settings, graphs: Sequence[Any] = ()) -> int:
    """Serve the team and loaded graphs until a signal. Return the exit status."""
    configure(settings.log_level)
    listener = listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def ready() -> None:
        url = f"http://{host}:{port}"
        graphs_served = ", ".join(server.graphs)
        print(f"Antiphon answers at {url} (try {url}/ws/test)", flush=True)
        print(f"Graphs: {graphs_served} (the first is the default)", flush=True)

    server = make_server(settings, ready, graphs)
    server.reaper = Reaper(server.end_seconds + 1)
    server.run(sockets=[listener])
    status = 0 if server.started else 3
    _leave_threads(status)
    return status


def _leave_threads(status: int) -> None:
    """Exit the process at once if a thread is still busy; Python would wait for it, perhaps for
    ever.

    The server's own resources are closed by then.
    """
    deadline = time.monotonic() + THREAD_SECONDS
    current = threading.current_thread()
    others = [
        thread for thread in threading.enumerate() if thread is not current and not thread.daemon
    ]
    for thread in others:
        thread.join(max(0.0, deadline - time.monotonic()))
    busy = [thread.name for thread in others if thread.is_alive()]
    if busy:
        log.warning("the process ends while %d threads are busy: %s", len(busy), ", ".join(busy))
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
