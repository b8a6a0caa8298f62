"""`GET /health`, and the documentation's own assets."""

from __future__ import annotations

from importlib.metadata import version
from typing import Literal

import msgspec
from litestar import HttpMethod, Response, get, route
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from antiphon.api.principal import Principal
from antiphon.api.services import Services


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` answers.

    A server that is draining is about to stop: its clients come back to another one.

    One that has failed stores nothing any more and should be started again; `reason` is a code:
    `WRITER_GONE` or `WRITER_STUCK`.
    """

    status: Literal["ok", "draining", "failed"]
    reason: str | None = None
    version: str
    graphs: list[str]
    model: str
    auth: Literal["jwt", "off"]
    database: dict[str, str]


FAILED = {503: ResponseSpec(Health, description="The server stores nothing any more.")}


@route("/health", http_method=[HttpMethod.GET, HttpMethod.HEAD], responses=FAILED)
async def health(services: NamedDependency[Services]) -> Response[Health]:
    """Whether the server can take messages, what it serves, and on which store."""
    engine = services.engine
    reason = engine.database.problem
    answer = Health(
        status="failed" if reason else "draining" if engine.draining else "ok",
        reason=reason,
        version=version("antiphon"),
        graphs=list(engine.graphs),
        model=services.settings.model,
        auth="jwt" if services.authenticator.required else "off",
        database=await engine.database.facts(),
    )
    return Response(answer, status_code=503 if reason else 200)


@get("/metrics", media_type="text/plain; version=0.0.4; charset=utf-8")
async def metrics(
    services: NamedDependency[Services], principal: NamedDependency[Principal]
) -> bytes:
    """Prometheus metrics. Where authentication is on, scrape with a token."""
    return services.metrics.text()


ROUTES = (health, metrics)
