"""Encodes and decodes the values of a graph's state, and limits their size.

Each channel of a checkpoint is encoded by itself, so that one odd value does not affect the others,
and an error can name the key. Values that LangGraph's serializer cannot take (a data frame, a
complex number) are pickled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from langgraph._internal._constants import PREVIOUS, RETURN, TASKS
from langgraph.checkpoint.base import Checkpoint, CheckpointMetadata
from langgraph.checkpoint.serde._msgpack import STRICT_MSGPACK_ENABLED
from langgraph.checkpoint.serde.base import SerializerProtocol
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from antiphon.orchestrator.errors import StateNotStorable, StateTooLarge

log = logging.getLogger("antiphon.run")

STATE_BYTES = 16 * 1024 * 1024
"""The largest size of a checkpoint, and of the state that a run leaves for the next one."""
MEGABYTE = 1_000_000
DEPTH = 30
"""How many levels of a value are searched for the part that cannot be stored."""
CHANNELS = "channels"
"""The kind of a checkpoint whose channels are encoded one by one."""
WORDS = {
    TASKS: "a `Send`",
    RETURN: "what a task returned",
    PREVIOUS: "what the entrypoint saves",
    "__start__": "the graph's input",
    "": "the graph's own state",
    "__end__": "what the entrypoint returned",
}
"""Names of LangGraph's own channels in messages to people."""


def serializer() -> SerializerProtocol:
    """Return LangGraph's serializer. It falls back on pickle, unless LangGraph is set to strict."""
    return JsonPlusSerializer(pickle_fallback=not STRICT_MSGPACK_ENABLED)


def dump_value(serde: SerializerProtocol, key: str, value: Any) -> tuple[str, bytes]:
    """Return a value's kind and bytes. Raises `StateNotStorable`, which names `key` and a type."""
    try:
        return serde.dumps_typed(value)
    except Exception as error:
        odd = type(_odd_member(serde, value, DEPTH))
        module = "" if odd.__module__ == "builtins" else f"{odd.__module__}."
        what = f"{_called(key)} holds a {module}{odd.__qualname__}"
        raise StateNotStorable(f"The graph's state cannot be stored: {what}.") from error


def dump_checkpoint(serde: SerializerProtocol, checkpoint: Checkpoint) -> tuple[str, bytes]:
    """Return a checkpoint's kind and bytes. Raises `StateNotStorable` and `StateTooLarge`."""
    values = checkpoint["channel_values"]
    channels = {key: dump_value(serde, key, value) for key, value in values.items()}
    check_size({key: len(blob) for key, (_, blob) in channels.items()})
    _, blob = serde.dumps_typed({**checkpoint, "channel_values": channels})
    return CHANNELS, blob


def dump_metadata(serde: SerializerProtocol, metadata: CheckpointMetadata) -> bytes:
    """Encode a checkpoint's metadata, without values that only pickle could take."""
    kind, blob = serde.dumps_typed(metadata)
    if kind == "msgpack":
        return blob
    kinds = {key: serde.dumps_typed(value)[0] for key, value in metadata.items()}
    plain = {key: value for key, value in metadata.items() if kinds[key] != "pickle"}
    return serde.dumps_typed(plain)[1]


def load_checkpoint(serde: SerializerProtocol, kind: str, blob: bytes) -> Checkpoint:
    """Return a checkpoint from its kind and bytes.

    A channel that cannot be read back is left out and logged.
    """
    if kind != CHANNELS:  # written before channels were encoded one by one
        stored: Checkpoint = serde.loads_typed((kind, blob))
        return stored
    checkpoint: Checkpoint = serde.loads_typed(("msgpack", blob))
    values: dict[str, Any] = {}
    for key, (channel_kind, channel_blob) in checkpoint["channel_values"].items():
        try:
            values[key] = serde.loads_typed((channel_kind, channel_blob))
        except Exception:  # code changes, states stay: its class may be gone
            log.exception("a value of a stored state cannot be read, and is left out: %s", key)
    return {**checkpoint, "channel_values": values}


def check_size(sizes: Mapping[str, int]) -> None:
    """Raise `StateTooLarge` if values are too large together. `sizes` are in bytes, by key."""
    size = sum(sizes.values())
    if size > STATE_BYTES:
        largest = max(sizes, key=lambda key: sizes[key])
        raise StateTooLarge(
            f"The graph's state is too large: it has {size / MEGABYTE:.1f} MB and may have"
            f" {STATE_BYTES / MEGABYTE:.1f} MB; most of it is in {_called(largest)}."
        )


def _called(key: str) -> str:
    return WORDS.get(key, f"`{key}`")


def _odd_member(serde: SerializerProtocol, value: Any, depth: int) -> Any:
    """Return the innermost part of a value that cannot be stored."""
    for member in _members(value) if depth else ():
        try:
            serde.dumps_typed(member)
        except Exception:
            return _odd_member(serde, member, depth - 1)
    return value


def _members(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value.keys()
        yield from value.values()
    elif isinstance(value, list | tuple | set | frozenset):
        yield from value
    elif not isinstance(value, type):
        yield from getattr(value, "__dict__", {}).values()
        yield from (getattr(value, name, None) for name in getattr(value, "__slots__", ()))
