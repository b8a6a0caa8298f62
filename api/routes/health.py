"""`GET /health`, and the documentation's own assets."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from litestar import get
from litestar.di import NamedDependency

from api.auth import Principal
from api.services import Services


@get("/health")
async def health(services: NamedDependency[Services]) -> dict[str, Any]:
    """Whether the server lives, what it serves, and on which store."""
    return {
        "status": "draining" if services.engine.draining else "ok",
        "version": version("antiphon"),
        "graphs": list(services.engine.graphs),
        "model": services.settings.model,
        "auth": "jwt" if services.authenticator.required else "off",
        "database": await services.engine.database.facts(),
    }


@get("/metrics", media_type="text/plain; version=0.0.4; charset=utf-8")
async def metrics(services: NamedDependency[Services], principal: NamedDependency[Principal]) -> bytes:
    """Prometheus metrics. Where authentication is on, scrape with a token."""
    return services.metrics.text()


ROUTES = (health, metrics)
