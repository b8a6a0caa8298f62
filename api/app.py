"""Composition root: builds the application from the settings. Nothing is made at import time."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from litestar import Litestar, Request
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.static_files import create_static_files_router

from antiphon.api.auth import Authenticator
from antiphon.api.guard import Guard, origin_of
from antiphon.api.limits import ClientLimits
from antiphon.api.metrics import Metrics
from antiphon.api.openapi import Json, Page
from antiphon.api.principal import Principal
from antiphon.api.routes import routes
from antiphon.api.routes.requests import HttpRequest
from antiphon.api.routes.responses import on_error
from antiphon.api.services import Services
from antiphon.api.settings import Settings
from antiphon.api.tracing import tracing
from antiphon.orchestrator.budget import Limits
from antiphon.orchestrator.environment import Environment
from antiphon.orchestrator.opening import open_engine
from antiphon.orchestrator.recording.tracing import Export

LOOPBACK_PAGES = r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"
ASSETS = "/schema/assets"


def create_app(settings: Settings, graphs: Sequence[Any] | None = None) -> Litestar:
    """Return the application, whose lifespan opens and closes the engine.

    `graphs` are the loaded graphs of the settings; None loads them at the start. Raises
    `SettingsError` if the settings are unsafe.
    """
    settings = settings.check()
    limits, metrics = ClientLimits(settings), Metrics()

    @asynccontextmanager
    async def engine_lifespan(app: Litestar) -> AsyncIterator[None]:
        async with (
            tracing(settings) as export,
            open_engine(
                settings.database_url,
                graphs=settings.graphs if graphs is None else graphs,
                model=settings.model,
                environment=_environment(settings, metrics, export),
            ) as engine,
        ):
            services = Services(engine, Authenticator(settings), settings, limits, metrics)
            app.state.services = services
            watching = asyncio.create_task(services.watch_revocations())
            yield
            watching.cancel()

    app = Litestar(
        route_handlers=[
            *routes(),
            create_static_files_router(
                path=ASSETS, directories=[_assets()], include_in_schema=False
            ),
        ],
        lifespan=[engine_lifespan],
        dependencies={
            "services": Provide(_services, sync_to_thread=False),
            "principal": Provide(_principal),
        },
        middleware=[Guard(settings, limits)],
        request_class=HttpRequest,
        cors_config=_cors(settings),
        exception_handlers={Exception: on_error},
        openapi_config=_openapi(),
        request_max_body_size=settings.body_bytes,
        logging_config=None,
        debug=False,
    )
    app.state.log = logging.getLogger("antiphon.http")
    return app


def _environment(settings: Settings, metrics: Metrics, export: Export | None) -> Environment:
    """Return the engine's environment by the settings."""
    return Environment(
        api_key=settings.openai_api_key,
        base_url=settings.openai_base_url,
        model_seconds=settings.model_seconds,
        model_trims=settings.model_overflow == "trim",
        limits=Limits(
            tokens=settings.run_tokens,
            seconds=settings.run_seconds,
            tool_calls=settings.run_tool_calls,
        ),
        max_attempts=settings.max_attempts,
        lease_seconds=settings.lease_seconds,
        observe=metrics.observe,
        export=export,
    )


def _services(state: State) -> Services:
    services: Services = state.services
    return services


async def _principal(request: Request[Any, Any, Any]) -> Principal:
    """Return the principal of a request, by its Authorization header or by `?token=`.

    Raises `Problem` if the token is missing or invalid, and above the user's limit.
    """
    services: Services = request.app.state.services
    token = request.headers.get("authorization") or request.query_params.get("token")
    principal = await services.authenticator.principal(token)
    services.limits.request("user", principal.id)
    return principal


def _cors(settings: Settings) -> CORSConfig:
    """Return the CORS settings. `Authorization` is listed by name, since `*` does not cover it."""
    return CORSConfig(
        allow_origins=[origin_of(origin) for origin in settings.origins],
        allow_origin_regex=None if settings.auth_on else LOOPBACK_PAGES,
        allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
        allow_headers=[
            "Accept",
            "Accept-Language",
            "Authorization",
            "Cache-Control",
            "Content-Language",
            "Content-Type",
            "Idempotency-Key",
            "Last-Event-ID",
            "Pragma",
            "Traceparent",
            "X-Organization-Id",
            "X-Requested-With",
        ],
        expose_headers=["Retry-After"],
    )


def _openapi() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="Antiphon",
        version="1",
        path="/schema",
        use_handler_docstrings=True,
        render_plugins=[
            Page(
                path="/",
                favicon="<link rel='icon' href='data:,'>",
                js_url=f"{ASSETS}/swagger-ui-bundle.js",
                css_url=f"{ASSETS}/swagger-ui.css",
                standalone_preset_js_url=f"{ASSETS}/swagger-ui-standalone-preset.js",
            ),
            Json(path="/openapi.json"),
        ],
    )


def _assets() -> Path:
    """Return the folder of Swagger UI's files in its package: the page works without a network."""
    spec = importlib.util.find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("swagger-ui-py is not installed")
    return Path(spec.origin).parent / "static"
