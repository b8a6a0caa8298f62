"""A small, exact stand-in for the OpenAI chat-completions API on loopback, for tests and
benchmarks.

Standard library only. It answers ``POST /v1/chat/completions`` (SSE and whole), ``GET /v1/models``
and ``GET /v1/models/{id}`` over HTTP/1.1 with keep-alive, does what a *script* says, and records
what happened::

    async with ModelServer(by_turn([Reply(status=429, headers={"retry-after": "0"}), "Hello"])) as server:
        client = AsyncOpenAI(base_url=server.base_url, api_key="any")
        ...
        assert server.requests[1].completed

A script is a plain function ``(ModelRequest) -> Reply``; it runs on the server's event loop, so it
must not block. Wherever a script is accepted, so is a ``Reply`` or a ``str`` (a reply's text),
given to every request. A script that raises is answered with a 500 that clients do not retry; see
``server.script_errors``.

Words used throughout:

* A *piece* ("chunk" in the names of the options, "token" in ``tokens_sent``) is one delta with
  content: each item of ``reasoning``, then each item of ``chunks``, then for each tool call one
  header and its argument fragments (16 characters each). The delta with the role, the one with the
  finish reason, and the usage chunk are not pieces.
* A *position* k (``gate_at``, ``fail_after``, ``garbage_after``, ``hang_after``) lies after k
  pieces: 0 is after the response head and the role but before the first piece, -1 is before the
  response head, and the number of pieces is after the last one, before the finish reason. A
  position beyond that is never reached. A whole (not streamed) or an error answer knows only -1 and
  "any other".
* All durations are seconds. ``received_at``, ``first_token_at`` and ``ended_at`` are
  ``time.monotonic()`` values, comparable between the processes of one Linux host.

As a process: ``python -m tests.support.model_server --port 0 --tokens 200 --delay-ms 10``
prints the base URL as its first line, and ends cleanly on SIGTERM or SIGINT.
"""

from __future__ import annotations

from tests.support.model_server.instances import minimal_instance
from tests.support.model_server.replies import ModelRequest, Reply
from tests.support.model_server.scripts import (
    ReplyLike,
    Script,
    by_agent,
    by_turn,
    default_script,
    structured_reply,
)
from tests.support.model_server.server import ModelServer
from tests.support.model_server.threaded import ThreadedModelServer

__all__ = [
    "ModelRequest",
    "ModelServer",
    "Reply",
    "ReplyLike",
    "Script",
    "ThreadedModelServer",
    "by_agent",
    "by_turn",
    "default_script",
    "minimal_instance",
    "structured_reply",
]
