"""Holds what real wires carry against the registry of frames."""

from __future__ import annotations

import re
from contextlib import suppress
from functools import cache
from typing import Any, Union

import msgspec

from api.app import create_app
from api.dialects import DIALECTS
from api.openapi import dialect_of
from api.settings import Settings


def check_frame(path: str, text: str) -> None:
    """A frame that a route has sent is one that its dialect may send, field by field."""
    decoders = [decoder for pattern, decoder in _decoders() if pattern.fullmatch(path)]
    assert decoders, f"no route at {path}"
    with suppress(RecursionError):  # a client's own value may be nested as deep as the store takes it
        decoders[0].decode(text)


@cache
def _decoders() -> list[tuple[re.Pattern[str], msgspec.json.Decoder[Any]]]:
    """By the pattern of a route's path, what reads the frames of its dialect. Literal paths stand before others."""
    registry = {name: msgspec.json.Decoder(Union[dialect.frames]) for name, dialect in DIALECTS.items()}  # noqa: UP007
    found = []
    for route in sorted(create_app(Settings()).routes, key=lambda one: one.path_format.count("{")):
        for handler in getattr(route, "route_handlers", None) or [getattr(route, "route_handler", None)]:
            if handler is not None and "dialect" in handler.opt:
                pattern = re.compile(re.sub(r"{\w+}", "[^/]+", route.path_format))
                found.append((pattern, registry[dialect_of(handler.opt)]))
    return found
