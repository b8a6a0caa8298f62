"""Which reply a request gets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from tests.support.model_server.instances import minimal_instance
from tests.support.model_server.replies import ModelRequest, Reply, encoded_json

Script: TypeAlias = Callable[[ModelRequest], Reply]
ReplyLike: TypeAlias = Script | Reply | str


def as_script(reply: ReplyLike) -> Script:
    """Turn a reply or a text into the script that always gives it; return a script unchanged."""
    if isinstance(reply, str):
        reply = Reply(reply)
    if isinstance(reply, Reply):
        fixed = reply
        return lambda _request: fixed
    return reply


def structured_reply(request: ModelRequest) -> Reply | None:
    """Return the minimal valid answer if the request forces a tool call or a JSON answer, else
    None.
    """
    tool = request.forced_tool
    if tool is not None:
        arguments = minimal_instance(tool.get("parameters") or {"type": "object"})
        return Reply(tool_calls=[{"name": tool["name"], "arguments": arguments}])
    schema = request.json_schema
    return None if schema is None else Reply(encoded_json(minimal_instance(schema)).decode())


def default_script(request: ModelRequest) -> Reply:
    """Answer forced tool calls and schemas minimally, and everything else with the last user
    message.
    """
    return structured_reply(request) or Reply(f"You said: {request.last_user}")


def by_turn(replies: Sequence[ReplyLike], *, repeat_last: bool = False) -> Script:
    """Give the n-th request that reaches this script the n-th reply.

    A request too many is an error of the script (a 500), unless ``repeat_last``. Retries of a
    client count.
    """
    scripts, turns = [as_script(reply) for reply in replies], 0

    def script(request: ModelRequest) -> Reply:
        nonlocal turns
        turn, turns = turns, turns + 1
        if turn >= len(scripts) and not repeat_last:
            raise IndexError(f"by_turn has {len(scripts)} replies, this is request {turn + 1}")
        return scripts[min(turn, len(scripts) - 1)](request)

    return script


def by_agent(replies: Mapping[str, ReplyLike], default: ReplyLike = default_script) -> Script:
    """Choose by the first key that occurs in the system (or developer) prompt, ``default`` if none
    does.
    """
    scripts, otherwise = (
        {key: as_script(reply) for key, reply in replies.items()},
        as_script(default),
    )

    def script(request: ModelRequest) -> Reply:
        system = request.system
        return next((found for key, found in scripts.items() if key in system), otherwise)(request)

    return script
