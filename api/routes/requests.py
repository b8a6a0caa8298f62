"""How bodies of requests are read, on every route."""

from __future__ import annotations

import codecs
from typing import Any

from litestar import Request


class HttpRequest(Request[Any, Any, Any]):
    """A request whose body may begin with a byte order mark, as Windows programs write it."""

    async def body(self) -> bytes:
        """Return the body without the mark, which JSON does not know."""
        return (await super().body()).removeprefix(codecs.BOM_UTF8)
