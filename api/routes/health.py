"""`GET /health`, and the documentation's own assets."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import msgspec
from litestar import get
from litestar.di import NamedDependency

from api.auth import Principal
from api.services import Services


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is draining is about to stop: it ends its streams, and clients come back to another."""

    status: Literal["ok", "draining"]
    version: str
    graphs: list[str]
    model: str
    auth: Literal["jwt", "off"]
    database: dict[str, str]


@get("/health")
async def health(services: NamedDependency[Services]) -> Health:
    """Whether the server lives, what it serves, and on which store."""
    return Health(
        status="draining" if services.engine.draining else "ok",
        version=version("antiphon"),
        graphs=list(services.engine.graphs),
        model=services.settings.model,
        auth="jwt" if services.authenticator.required else "off",
        database=await services.engine.database.facts(),
    )


@get("/metrics", media_type="text/plain; version=0.0.4; charset=utf-8")
async def metrics(services: NamedDependency[Services], principal: NamedDependency[Principal]) -> bytes:
    """Prometheus metrics. Where authentication is on, scrape with a token."""
    return services.metrics.text()


ROUTES = (health, metrics)
