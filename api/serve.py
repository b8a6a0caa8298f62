"""Runs the application: our own listening socket, a shutdown that sends readers away first, and a calm collector.

uvicorn alone would wait for open streams for ever, let a stuck client hold megabytes, and never notice one whose
network is gone.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from litestar import Litestar

from api.app import create_app
from api.logs import configure
from api.protocol import PatientProtocol, PatientSocket
from api.settings import Settings

SEND_BUFFER = 64 * 1024
"""Bytes that the kernel holds for a client that does not read."""
DEAD_PEER_MS = 30_000
BACKLOG = 4096


class Server(uvicorn.Server):
    """uvicorn, telling the engine of a shutdown while its streams are still open."""

    def __init__(self, config: uvicorn.Config, app: Litestar, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._application = app
        self._on_ready = on_ready
        self._event_loop: asyncio.AbstractEventLoop | None = None

    @property
    def graphs(self) -> list[str]:
        """The names of what is served, the default one first; known once the server has started."""
        return list(self._application.state.services.engine.graphs)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        self._event_loop = asyncio.get_running_loop()
        await super().startup(sockets)
        if self.started:
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 1000)
            self._on_ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM or SIGINT: let every reader go, to resume elsewhere; a second SIGINT does not wait for them.

        uvicorn would raise the signal again when it is done, and end as if it had been killed.
        """
        services = getattr(self._application.state, "services", None)
        if services is not None and self._event_loop is not None:
            self._event_loop.call_soon_threadsafe(services.engine.drain)
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True


def make_server(
    settings: Settings, on_ready: Callable[[], None] = lambda: None, graphs: Sequence[Any] | None = None
) -> Server:
    """A server for these settings, not yet running; `graphs` are those of the settings, if they are loaded already."""
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
    return Server(config, app, on_ready)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket whose connections inherit small send buffers and the detection of dead peers."""
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
    except OSError:
        listener.close()
        raise
    return listener


def serve(settings: Settings, graphs: Sequence[Any] = ()) -> int:
    """Serve the team and some graphs that are loaded already, until a signal. Returns the exit status."""
    configure(settings.log_level)
    listener = listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host

    def ready() -> None:
        print(f"Antiphon answers at http://{host}:{port} (try http://{host}:{port}/ws/test)", flush=True)
        print(f"Graphs: {', '.join(server.graphs)} (the first is the default)", flush=True)

    server = make_server(settings, ready, graphs)
    server.run(sockets=[listener])
    return 0 if server.started else 3
