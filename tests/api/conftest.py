"""Servers for everything below, and a client of each."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.deadline import DEADLINE
from tests.support.server import LiveServer, asking, guarded, live, teller

__all__ = ["asking", "guarded", "live", "teller"]


@pytest.fixture
async def client(live: LiveServer) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the server without authentication."""
    async with httpx.AsyncClient(base_url=live.url, timeout=DEADLINE, trust_env=False) as opened:
        yield opened
