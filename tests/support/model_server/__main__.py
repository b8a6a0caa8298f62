"""The server as a process: prints its base URL, and ends at SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence

from tests.support.model_server.replies import ModelRequest, Reply
from tests.support.model_server.scripts import Script, structured_reply
from tests.support.model_server.server import ModelServer


def _command_line() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="An OpenAI chat-completions API on loopback, for tests."
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: any free port")
    parser.add_argument(
        "--tokens", type=int, default=0, help="answer with so many tokens; 0: echo the user"
    )
    parser.add_argument(
        "--delay-ms", type=float, default=0.0, help="milliseconds between two tokens"
    )
    parser.add_argument(
        "--first-delay-ms", type=float, default=0.0, help="milliseconds before the answer"
    )
    parser.add_argument("--burst", action="store_true", help="few large writes, without delay")
    return parser


def _command_script(options: argparse.Namespace) -> Script:
    """Return the script for the command line; what is forced is answered minimally all the same."""
    pacing = {
        "first_delay": options.first_delay_ms / 1000,
        "delay": options.delay_ms / 1000,
        "burst": options.burst,
    }
    fixed = Reply(chunks=[f"token{i} " for i in range(options.tokens)], **pacing)

    def script(request: ModelRequest) -> Reply:
        answer = fixed if options.tokens else Reply(f"You said: {request.last_user}", **pacing)
        return structured_reply(request) or answer

    return script


async def _serve_until_signal(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ModelServer(
        _command_script(options), host=options.host, port=options.port
    ) as server:
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT; the first line on stdout is the base URL."""
    asyncio.run(_serve_until_signal(_command_line().parse_args(arguments)))


if __name__ == "__main__":
    main()
