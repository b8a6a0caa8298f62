"""Holds what real wires carry against the registry of frames."""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import Any, Union

import msgspec
from litestar import Litestar

from antiphon.api.app import create_app
from antiphon.api.openapi import dialect_of, opts_at
from antiphon.api.settings import Settings
from tests.api.dialects.table import TABLE, registered


def check_frame(path: str, text: str) -> None:
    """A frame that a route has sent is one that its dialect may send, field by field."""
    dialect = TABLE[_dialect(path)]
    if text in dialect.raw:
        return
    with suppress(
        RecursionError
    ):  # a client's own value may be nested as deep as the store takes it
        _decoder(dialect.name).decode(text)


@cache
def _decoder(dialect: str) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(Union[TABLE[dialect].sends])  # noqa: UP007


@cache
def _dialect(path: str) -> str:
    return next(dialect_of(opt) for opt in opts_at(_app().routes, path) if "dialect" in opt)


@cache
def _app() -> Litestar:
    with registered():
        return create_app(Settings())
