"""Checks of the Host and Origin headers, for HTTP and WebSocket alike.

Litestar's own CORS and host checks do nothing, or crash, on WebSockets, so the decision is made
here, once for both. Clients other than browsers send no Origin, so it is not checked for them.
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
    """Refuses unknown host names, web pages of other origins, and addresses above their limit."""

    scopes = (ScopeType.HTTP, ScopeType.WEBSOCKET)

    def __init__(self, settings: Settings, limits: ClientLimits) -> None:
        self._settings = settings
        self._limits = limits
        self._origins = {origin_of(origin) for origin in settings.origins}
        self._hosts = {host.strip().lower() for host in settings.hosts}

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Pass on a connection, or refuse it: raise `Problem` for HTTP, close a WebSocket."""
        headers = Headers.from_scope(scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        try:
            client = scope.get("client")
            self._limits.request("address", client[0] if client else "")
            page_allowed = origin is None or self.origin_allowed(origin, host)
            if not self._host_allowed(host) or not page_allowed:
                raise Problem("FORBIDDEN", "This page or host name may not use this server.")
        except Problem as problem:
            audit.warning(
                "refused a client at the door",
                extra={"code": problem.code, "path": scope["path"], "origin": origin, "host": host},
            )
            if scope["type"] != ScopeType.WEBSOCKET:
                raise
            await receive()
            code = CODES[problem.code].close or 1008
            await send({"type": "websocket.close", "code": code, "reason": problem.code})
            return
        await next_app(scope, receive, send)

    def _host_allowed(self, host: str) -> bool:
        """Report whether the server may be addressed by a host name.

        With auth off, only names of this machine are allowed, so that a page elsewhere cannot reach
        the server by a name of its own (DNS rebinding).
        """
        name = _split(f"//{host}").hostname or ""
        if self._hosts:
            return name in self._hosts
        return self._settings.auth_on or is_loopback(name)

    def origin_allowed(self, origin: str, host: str) -> bool:
        """Report whether a page of an origin may connect.

        Allowed are the server's own origin, the listed ones, and with auth off any of this machine.
        """
        if origin_of(origin) in self._origins or "*" in self._origins:
            return True
        page = _split(origin)
        if page.scheme not in ("http", "https") or not page.hostname:
            return False
        is_ours = origin_of(origin) == origin_of(f"{page.scheme}://{host}")
        return is_ours or (not self._settings.auth_on and is_loopback(page.hostname))


_PORTS = {"http": 80, "https": 443}


def origin_of(address: str) -> str:
    """Return an origin as browsers send it: lower case, without a default port or a final slash.

    Other values, such as `*`, `null` and the schemes of apps, are only stripped.
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
        return address  # not an origin
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    is_default = port is None or port == _PORTS[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if is_default else f":{port}")


def _split(address: str) -> SplitResult:
    """Split an address into its parts, all empty if it is malformed."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
