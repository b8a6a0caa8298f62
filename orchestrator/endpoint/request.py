"""Fit a request to an endpoint: leave out what it refused once, keep its rules about messages.
Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]
LIMITS = ("max_completion_tokens", "max_tokens")
"""Two names of one parameter; an endpoint may know either, or none."""
STRUCTURE = frozenset({"tools", "tool_choice", "response_format"})
NEEDED = STRUCTURE | {"model", "messages", "stream"}
"""What is not left out: the answer would be another one. Ways to ask for an object are
`StructuredOutput`'s matter.
"""
_PARAMETER = r"(param|argument|field|input|propert|keyword|option)"
_REFUSED = (
    r"(unknown|unrecogni[sz]ed|unsupported|unexpected|extra|not (support|permitted|allowed|known))"
)
_ABOUT_PARAMETERS = re.compile(
    rf"{_PARAMETER}[\w' ]{{0,60}}{_REFUSED}|{_REFUSED}[\w' ]{{0,60}}{_PARAMETER}", re.IGNORECASE
)
_ABOUT_CONTEXT = re.compile(
    r"context[ _-]?(length|window|size|limit)|maximum context|exceed_context|prompt is too long"
    r"|too many (input )?tokens"
    r"|(input|prompt) .{0,60}(exceeds|too long)|reduce the length",
    re.IGNORECASE,
)
_ABOUT_FILTER = re.compile(
    r"content[ _-]?(filter|policy)|content management policy|ResponsibleAI", re.IGNORECASE
)


def is_about_context(text: str) -> bool:
    """Whether an endpoint refused a prompt for its length."""
    return _ABOUT_CONTEXT.search(text) is not None


def is_about_filter(text: str) -> bool:
    """Whether an endpoint refused a prompt for its content."""
    return _ABOUT_FILTER.search(text) is not None


class Capabilities:
    """What one endpoint has been found to accept. Kept for as long as the process lives."""

    def __init__(self) -> None:
        self.refused: set[str] = set()
        """Names of parameters that it does not take."""
        self.wants_thoughts = False
        """Whether it needs its own thoughts back with its tool calls, as DeepSeek does."""

    def fit(self, payload: Json) -> Json:
        """Return a request that leaves out what was refused."""
        fitted = self._without(payload)
        if isinstance(extra := payload.get("extra_body"), dict):
            fitted["extra_body"] = self._without(extra)
        fitted["messages"] = joined(
            [self._message(message) for message in payload.get("messages", [])]
        )
        return fitted

    def learn(self, text: str, payload: Json) -> bool:
        """Take note of a refusal; return whether asking again differs. `text` is what the endpoint
        said.
        """
        if "reasoning_content" in text and not self.wants_thoughts:
            self.wants_thoughts = True
            return True
        fitted = self.fit(payload)
        sent = {*fitted, *fitted.get("extra_body", {})} - {"extra_body"}
        named = {name for name in sent - NEEDED if _names(text, name)}
        if not named and not sent & STRUCTURE and _ABOUT_PARAMETERS.search(text):
            # It does not say which: without any of them this is a plain request.
            named = (sent - NEEDED) | set(LIMITS) if sent - NEEDED else set()
        self.refused |= named
        return bool(named)

    def _without(self, parameters: Json) -> Json:
        kept = {}
        for name, value in parameters.items():
            if name not in self.refused:
                kept[name] = value
            elif name in LIMITS and (other := LIMITS[1 - LIMITS.index(name)]) not in self.refused:
                kept[other] = value
        return kept

    def _message(self, message: Json) -> Json:
        if "reasoning_content" in message and not self.wants_thoughts:
            return {name: value for name, value in message.items() if name != "reasoning_content"}
        return message


def without_limit(payload: Json) -> Json | None:
    """Return the request without its limit of tokens, or None if it has none.

    Prompt and limit together may be too much for a model that the prompt alone fits.
    """
    kept = {name: value for name, value in payload.items() if name not in LIMITS}
    return kept if len(kept) < len(payload) else None


def joined(messages: list[Json]) -> list[Json]:
    """Join neighbours of one role, which templates of many models refuse: a failed turn leaves a
    message unanswered.
    """
    kept: list[Json] = []
    for message in messages:
        before = kept[-1] if kept else None
        if (
            before is not None
            and _is_plain(before)
            and _is_plain(message)
            and before["role"] == message["role"]
        ):
            kept[-1] = {**before, "content": f"{before['content']}\n\n{message['content']}"}
        else:
            kept.append(message)
    return kept


def _is_plain(message: Json) -> bool:
    """Whether a message is a role and a text; a name or a tool call must stay with its own."""
    return (
        set(message) == {"role", "content"}
        and isinstance(message["content"], str)
        and message["role"] != "tool"
    )


def trimmed(messages: list[Json]) -> list[Json] | None:
    """Leave out the older half of a conversation; return None if there is nothing to leave out.

    Instructions and the newest message of the user stay, and what stays begins with a message of
    the user.
    """
    system = [message for message in messages if message.get("role") in ("system", "developer")]
    talk = [message for message in messages if message.get("role") not in ("system", "developer")]
    starts = [
        place for place, message in enumerate(talk) if message.get("role") == "user" and place > 0
    ]
    if not starts:
        return None
    middle = len(talk) / 2
    start = next((place for place in starts if place >= middle), starts[-1])
    return [*system, *talk[start:]]


def size(payload: Json) -> int:
    """Characters of a prompt, tools included."""
    return sum(map(len, _texts([payload.get("messages"), payload.get("tools")])))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))


def _names(text: str, parameter: str) -> bool:
    """Whether a text names a parameter: `stop` and `user` are words as well, so these must be
    quoted or a path.
    """
    name = re.escape(parameter)
    pattern = (
        rf"\b{name}\b"
        if "_" in parameter
        else rf"['\"`.]{name}['\"`]|\bbody\.{name}\b|parameter:? {name}\b"
    )
    return re.search(pattern, text) is not None
