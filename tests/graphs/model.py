"""The model of the gallery: an HTTP server that replies to each graph as its example says.

A graph names itself by the model that it asks for. The reply depends on the request alone, so it is
the same after a crash. A reply can be held until the server that asked for it was killed.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Self

from tests.graphs.example import Example, reply_to
from tests.support.model_server import ModelRequest, Reply, ThreadedModelServer


@dataclass
class _Asked:
    """What a graph has asked since its turn began."""

    requests: list[ModelRequest] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    hold: int = 0
    """Which request is held, from 1 on; 0 for none."""
    gate: threading.Event = field(default_factory=threading.Event)


class GalleryModel:
    """The server, as a context manager. `problems` are requests that no example foresees."""

    def __init__(self) -> None:
        self._server = ThreadedModelServer(self._script)
        self._examples: dict[str, Example] = {}
        self._asked: dict[str, _Asked] = {}

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.release()
        self._server.stop()

    @property
    def base_url(self) -> str:
        """The URL for `OPENAI_BASE_URL`."""
        return self._server.base_url

    @property
    def problems(self) -> list[str]:
        """Requests that no example foresees, since the last time that somebody asked."""
        found = [str(error) for error in self._server.script_errors]
        self._server.script_errors.clear()
        return found

    def know(self, name: str, example: Example) -> None:
        """Reply to a graph as its example says."""
        self._examples[name] = example

    def begin(self, name: str, hold: int = 0) -> None:
        """Begin a graph's turn, and hold the reply to its request of that number, after its first
        word.
        """
        self._asked[name] = _Asked(hold=hold)

    def release(self) -> None:
        """Let all replies go on; nothing is held in the turns that are under way."""
        for asked in self._asked.values():
            asked.hold = 0
            asked.gate.set()

    def count(self, name: str) -> int:
        """Return how many requests a graph has made in its turn."""
        return len(self._asked[name].requests)

    def is_held(self, name: str) -> bool:
        """Return whether the reply that was to be held is held, and its first word is out."""
        asked = self._asked[name]
        if not asked.hold or len(asked.requests) < asked.hold:
            return False
        held = asked.requests[asked.hold - 1]
        return held.tokens_sent > 0 or not held.stream

    def said(self, name: str) -> list[str]:
        """Return the texts that a graph's plain calls were given in its turn."""
        asked = self._asked[name]
        pairs = zip(asked.requests, asked.replies, strict=True)
        return [reply.text for request, reply in pairs if reply.text and not request.json_schema]

    def _script(self, request: ModelRequest) -> Reply:
        reply = reply_to(self._examples[request.model], request)
        asked = self._asked.setdefault(request.model, _Asked())
        asked.requests.append(request)
        asked.replies.append(reply)
        if len(asked.requests) == asked.hold:
            return replace(reply, gate=asked.gate, gate_at=1 if request.stream else -1)
        return reply
