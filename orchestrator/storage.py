"""Turns the database's errors into those that callers may show."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

from antiphon.data.base import Busy, IdempotencyConflict, NotFound, StorageError
from antiphon.orchestrator.errors import KeyConflict, ThingNotFound, ThreadBusy, Unavailable

log = logging.getLogger("antiphon.engine")
T = TypeVar("T")


async def translated(work: Awaitable[T]) -> T:
    """Await a database call; its errors become those that callers may show."""
    try:
        return await work
    except NotFound:
        raise ThingNotFound from None
    except Busy:
        raise ThreadBusy from None
    except IdempotencyConflict:
        raise KeyConflict from None
    except StorageError as error:
        log.exception("the store failed")
        raise Unavailable from error
