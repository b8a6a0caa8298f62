"""What a request must be before it is accepted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from antiphon.orchestrator.bounds import (
    INTEGER,
    MESSAGE_LIMIT,
    STEPS_LIMIT,
    TAG_LIMIT,
    TAGS_LIMIT,
    TITLE_LIMIT,
    VALUE_DEPTH,
)
from antiphon.orchestrator.errors import BadRequest, EmptyMessage, TooLarge, UnknownAgent
from antiphon.orchestrator.graphs.run_config import without_ours
from antiphon.orchestrator.graphs.served import NOTHING_ASKED, RequestConfig, RunInput, ServedGraph
from antiphon.orchestrator.team.routing import MODES


def checked_message(message: Any) -> str:
    """A message that can be answered and stored. Raises `BadRequest`, `EmptyMessage`, `TooLarge`."""
    if not isinstance(message, str):
        raise BadRequest("The message must be a text.")
    text = str(message.replace("\0", ""))
    if not text.strip():
        raise EmptyMessage
    if len(text) > MESSAGE_LIMIT:
        raise TooLarge(f"A message may have {MESSAGE_LIMIT} characters; this one has {len(text)}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest("The message is not valid Unicode.") from None
    return text


def checked_title(title: str | None) -> str | None:
    """A title that can be stored, or None for none. Raises `BadRequest`."""
    if title is not None and not isinstance(title, str):
        raise BadRequest("The title must be a text.")
    text = (title or "").replace("\0", "").strip()
    if len(text) > TITLE_LIMIT:
        raise BadRequest(f"A title may have {TITLE_LIMIT} characters; this one has {len(text)}.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest("The title is not valid Unicode.") from None
    return text or None


def checked_value(value: Any, what: str) -> Any:
    """A client's own value that graphs, checkpoints and readers can take. Raises `BadRequest`."""
    level = [value]
    for depth in range(VALUE_DEPTH + 1):
        if any(isinstance(one, int) and not -INTEGER <= one < INTEGER for one in level):
            raise BadRequest(f"{what} holds a number that is too large.")
        if depth == VALUE_DEPTH and any(isinstance(one, dict | list | tuple) for one in level):
            raise BadRequest(f"{what} may be nested {VALUE_DEPTH} levels deep.")
        level = [inner for one in level for inner in _inside(one)]
    return value


def checked_object(value: Any, what: str) -> dict[str, Any]:
    """An object of a client's own values; an empty one for None. Raises `BadRequest`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadRequest(f"{what} must be an object.")
    checked = checked_value(dict(value), what)
    try:
        msgspec.json.encode(checked)
    except (TypeError, ValueError):
        raise BadRequest(f"{what} must hold plain values.") from None
    return dict(checked)


def checked_config(value: Any) -> RequestConfig:
    """A request's `config`, without what only the server says. Raises `BadRequest`."""
    config = checked_object(value, "The config")
    if not config:
        return NOTHING_ASKED
    limit, tags = config.get("recursion_limit"), config.get("tags") or []
    if limit is not None and (type(limit) is not int or not 1 <= limit <= STEPS_LIMIT):
        raise BadRequest(f"recursion_limit must be a number from 1 to {STEPS_LIMIT}.")
    if not isinstance(tags, list) or len(tags) > TAGS_LIMIT or not all(map(_is_tag, tags)):
        raise BadRequest(f"tags must be at most {TAGS_LIMIT} texts of at most {TAG_LIMIT} characters.")
    return without_ours(
        RequestConfig(
            configurable=checked_object(config.get("configurable"), "configurable"),
            recursion_limit=limit,
            tags=tags,
            metadata=checked_object(config.get("metadata"), "metadata"),
        )
    )


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, str) and len(tag) <= TAG_LIMIT


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def check_agents(served: ServedGraph, *names: str | None) -> None:
    """Raise `UnknownAgent` for an agent that the graph does not have; None is no choice."""
    for name in names:
        if name is not None and served.agents and name not in served.agents:
            raise UnknownAgent(f"There is no agent {name!r}; this server has {', '.join(served.agents)}.")


def checked_mode(mode: str | None) -> str | None:
    """A way of working together. Raises `BadRequest`."""
    if mode == "enhanced_collaborative":
        return "collaborative"
    if mode and mode not in MODES:
        raise BadRequest(f"The mode must be one of {', '.join(MODES)}.")
    return mode or None


def digest_of(given: RunInput, graph: str, thread_id: str | None, thread_name: tuple[str, str] | None) -> bytes:
    """What tells whether two requests with one idempotency key are the same."""
    return hashlib.sha256(msgspec.json.encode([given, graph, thread_id, thread_name])).digest()
