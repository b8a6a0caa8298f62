"""Headers that routes document; `Services` reads them."""

from __future__ import annotations

from typing import Annotated

from litestar.params import HeaderParameter

from antiphon.api.services import KEY_LIMIT

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        description="Repeating a request with the same key is safe.",
        schema_extra={"min_length": 1, "max_length": KEY_LIMIT},
    ),
]
LastEventId = Annotated[
    str | None,
    HeaderParameter(
        name="Last-Event-ID", description="Resume after this event: `<run_id>:<seq>.<k>`."
    ),
]
