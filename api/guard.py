"""The door, for HTTP and WebSocket alike: which names the server answers to, and which web pages may speak to it.

Litestar's own CORS and host checks do nothing, or crash, on WebSockets, so the decision is made here, once for both.
Clients that are no browsers send no Origin and are not concerned.
"""

from __future__ import annotations

import logging
from urllib.parse import SplitResult, urlsplit

from litestar.datastructures import Headers
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Receive, Scope, Send

from antiphon.api.limits import ClientLimits
from antiphon.api.problems import CODES, Problem
from antiphon.api.settings import Settings, is_loopback

audit = logging.getLogger("antiphon.audit")


class Guard(ASGIMiddleware):
    """Refuses foreign hosts and foreign pages."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, settings: Settings, limits: ClientLimits) -> None:
        self._settings = settings
        self._limits = limits
        self._origins = {origin_of(origin) for origin in settings.origins}
        self._hosts = {host.strip().lower() for host in settings.hosts}

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass on what may pass."""
        headers = Headers.from_scope(scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            client = scope.get("client")
            self._limits.request("address", client[0] if client else "")
            if not self._host_allowed(host) or (origin is not None and not self.origin_allowed(origin, host)):
                raise Problem("FORBIDDEN", "This page or host name may not use this server.")
        except Problem as problem:
            audit.warning(
                "refused a client at the door",
                extra={"code": problem.code, "path": scope["path"], "origin": origin, "host": host},
            )
            if scope["type"] != ScopeType.WEBSOCKET:
                raise
            await receive()
            await send({"type": "websocket.close", "code": CODES[problem.code].close or 1008, "reason": problem.code})
            return
        await next_app(scope, receive, send)

    def _host_allowed(self, host: str) -> bool:
        """With auth off only names of this machine count: a page elsewhere cannot reach us by a name of its own."""
        name = _split(f"//{host}").hostname or ""
        if self._hosts:
            return name in self._hosts
        return self._settings.auth_on or is_loopback(name)

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may speak to us: our own, a listed one, with auth off any on this machine."""
        if origin_of(origin) in self._origins or "*" in self._origins:
            return True
        page = _split(origin)
        if page.scheme not in ("http", "https") or not page.hostname:
            return False
        is_ours = origin_of(origin) == origin_of(f"{page.scheme}://{host}")
        return is_ours or (not self._settings.auth_on and is_loopback(page.hostname))


_PORTS = {"http": 80, "https": 443}


def origin_of(address: str) -> str:
    """Return an origin as browsers send it: in lower case, without a default port or a slash.

    Anything but a web address is only stripped: `*`, `null`, the schemes of apps.
    """
    address = address.strip()
    parts = _split(address)
    try:
        port = parts.port
    except ValueError:
        return address
    if parts.scheme not in _PORTS or not parts.hostname:
        return address.rstrip("/")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        return address  # no origin has these
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def _split(address: str) -> SplitResult:
    """An address in its parts; one that is none has none."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
