"""A client's message with its options, the same from the dialect to the database. Pure.

A dialect makes it, `checked` refuses or cleans it, `Engine.accept` stores it as it is, and the
run's execution reads it back.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple, Protocol

import msgspec

from antiphon.data.records import OnBusy
from antiphon.orchestrator.bounds import (
    INTEGER,
    MESSAGE_LIMIT,
    STEPS_LIMIT,
    TAG_LIMIT,
    TAGS_LIMIT,
    TITLE_LIMIT,
    VALUE_DEPTH,
)
from antiphon.orchestrator.errors import BadRequest, EmptyMessage, TooLarge
from antiphon.orchestrator.profiles import Profile

log = logging.getLogger("antiphon.engine")

LOCAL_USER = "local"
"""The user's id without logins."""
PUBLIC = ("public",)
MODES = ("sequential", "parallel", "collaborative", "debate")
"""How agents work together. `enhanced_collaborative` is another name for `collaborative`."""
OURS = frozenset(
    {
        *("thread_id", "run_id", "task_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"),
        *("graph_id", "assistant_id", "user_id", "profile"),
        *("langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions"),
    }
)
"""Keys of `configurable` that the server sets, or that choose where a graph goes on from."""
LABELS = ("__", "antiphon", "langgraph_", "lc_", "ls_")
"""Prefixes of metadata's keys with a meaning for LangGraph, LangChain or us."""
MARKS = ("graph:", "langsmith:", "seq:")
"""Prefixes of tags with such a meaning."""
SHOWN = ("message", "primary", "supporting", "mode", "options", "inputs")
"""Fields that the run's first event shows. The other ones may hold keys and secrets."""
COMPARED = frozenset({*SHOWN, "access", "context", "config", "history"})
"""Fields that make two requests different, besides the graph and the thread."""


class Caller(Protocol):
    """The user who sends a request. `access` has the labels of documents that they may see."""

    @property
    def id(self) -> str:
        """The user's id."""

    @property
    def access(self) -> Collection[str]:
        """Access labels of documents."""


class User(NamedTuple):
    """A caller in a notebook or a script."""

    id: str = LOCAL_USER
    access: Collection[str] = PUBLIC


LOCAL = User()


class HistoryMessage(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier message of the conversation. `id` is set if the message is stored."""

    role: str
    content: str
    id: str | None = None


class Request(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A message and its options. They are stored, so a field keeps its name and meaning."""

    message: str
    message_id: str | None = None
    """The message's id, if the client chooses it. An execution gets the stored one here."""
    primary: str | None = None
    supporting: tuple[str, ...] = ()
    mode: str | None = None
    access: tuple[str, ...] = PUBLIC
    """Labels of documents that the run may use. `Engine.accept` sets the caller's."""
    options: dict[str, Any] = {}
    """Options for the dialect's fold, recorded with the run."""
    inputs: Mapping[str, Any] = {}
    """Values for a flow's nodes, by node, or for the other fields of a graph's input, by name."""
    context: Mapping[str, Any] = {}
    """Values for the graph's `context_schema`."""
    config: dict[str, Any] | None = None
    """LangGraph's config. `configurable`, `recursion_limit`, `tags` and `metadata` are used."""
    history: tuple[HistoryMessage, ...] = ()
    """The conversation so far, if the client keeps it; else the thread's own messages are used."""
    profile: Profile | None = None
    """The user's profile when the message was accepted. `Engine.accept` sets it."""
    traceparent: str | None = None
    """The W3C `traceparent` header of the request."""
    graph: str | None = None
    """None for the thread's own flow, or the default graph."""
    thread_id: str | None = None
    thread_name: str | None = None
    """The client's own name for a thread, in its dialect. The first message creates the thread."""
    dialect: str = "native"
    on_busy: OnBusy = "enqueue"
    """What happens to the message if a run of the thread has not ended."""
    idempotency_key: str | None = None

    @property
    def context_values(self) -> dict[str, Any]:
        """The values for the graph's context. `configurable` is LangGraph's older name for them."""
        configurable: dict[str, Any] = (self.config or {}).get("configurable") or {}
        return {**configurable, **self.context}

    @property
    def name_in_dialect(self) -> tuple[str, str] | None:
        """The thread's `(dialect, name)`, or None."""
        return (self.dialect, self.thread_name) if self.thread_name is not None else None

    @property
    def shown(self) -> dict[str, Any]:
        """The part of the request that all readers of the thread may see."""
        return {name: value for name, value in msgspec.to_builtins(self).items() if name in SHOWN}

    @property
    def digest(self) -> bytes:
        """A digest (SHA-256) that two requests share if they ask for the same."""
        values = msgspec.to_builtins(self)
        compared = {name: value for name, value in values.items() if name in COMPARED}
        place = [self.graph or "", self.thread_id, self.name_in_dialect]
        return hashlib.sha256(msgspec.json.encode([compared, *place])).digest()


def checked(request: Request, access: Collection[str]) -> Request:
    """Return a request that can be stored, for a caller with this access.

    Raises `BadRequest`, `EmptyMessage`, `TooLarge`.
    """
    return msgspec.structs.replace(
        request,
        message=checked_message(request.message),
        primary=request.primary or None,
        supporting=tuple(name for name in request.supporting if name),
        mode=checked_mode(request.mode),
        access=tuple(sorted(access)),
        inputs=checked_object(request.inputs, "The inputs"),
        context=checked_object(request.context, "The context"),
        config=checked_config(request.config),
    )


def checked_message(message: Any) -> str:
    """Return a message that can be stored. Raises `BadRequest`, `EmptyMessage`, `TooLarge`."""
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
    """Return a title that can be stored, or None if it is empty. Raises `BadRequest`."""
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
    """Return a client's own value, if graphs and readers can take it. Raises `BadRequest`."""
    level = [value]
    for depth in range(VALUE_DEPTH + 1):
        if any(map(_is_too_large, level)):
            raise BadRequest(f"{what} holds a number that is too large.")
        if depth == VALUE_DEPTH and any(isinstance(item, dict | list | tuple) for item in level):
            raise BadRequest(f"{what} may be nested {VALUE_DEPTH} levels deep.")
        level = [inner for item in level for inner in _inside(item)]
    return value


def checked_object(value: Any, what: str) -> dict[str, Any]:
    """Return a client's own object; an empty one for None. Raises `BadRequest`."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise BadRequest(f"{what} must be an object.")
    values: dict[str, Any] = checked_value(dict(value), what)
    try:
        msgspec.json.encode(values)
    except (TypeError, ValueError):
        raise BadRequest(f"{what} must hold plain values.") from None
    return values


def checked_config(value: Any) -> dict[str, Any] | None:
    """Return a request's `config` without keys that only the server sets, or None if it is empty.

    Raises `BadRequest`.
    """
    config = checked_object(value, "The config")
    if not config:
        return None
    limit, tags = config.get("recursion_limit"), config.get("tags") or []
    if limit is not None and (type(limit) is not int or not 1 <= limit <= STEPS_LIMIT):
        raise BadRequest(f"recursion_limit must be a number from 1 to {STEPS_LIMIT}.")
    if not isinstance(tags, list) or len(tags) > TAGS_LIMIT or not all(map(_is_tag, tags)):
        raise BadRequest(
            f"tags must be at most {TAGS_LIMIT} texts of at most {TAG_LIMIT} characters."
        )
    configurable = checked_object(config.get("configurable"), "configurable")
    metadata = checked_object(config.get("metadata"), "metadata")
    kept: dict[str, Any] = {
        "configurable": {key: value for key, value in configurable.items() if is_free(key)},
        "recursion_limit": limit,
        "tags": [tag for tag in tags if not tag.startswith(MARKS)],
        "metadata": {key: value for key, value in metadata.items() if not key.startswith(LABELS)},
    }
    names = {*kept["configurable"], *kept["tags"], *kept["metadata"]}
    if dropped := sorted({*configurable, *metadata, *tags} - names):
        log.info("a request's config says what only the server says: %s", ", ".join(dropped))
    return {name: part for name, part in kept.items() if part}


def is_free(key: str) -> bool:
    """Return whether a request may set this key of `configurable`."""
    return key not in OURS and not key.startswith("__")


def _is_too_large(value: Any) -> bool:
    return isinstance(value, int) and not -INTEGER <= value < INTEGER


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, str) and len(tag) <= TAG_LIMIT


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list | tuple) else ()


def checked_mode(mode: str | None) -> str | None:
    """Return a mode by its main name, or None. Raises `BadRequest`."""
    if mode == "enhanced_collaborative":
        return "collaborative"
    if mode and mode not in MODES:
        raise BadRequest(f"The mode must be one of {', '.join(MODES)}.")
    return mode or None
