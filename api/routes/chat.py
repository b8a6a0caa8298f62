"""The test page of the chat vocabulary (seed 003)."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

from litestar import Response, get

PAGE = Path(__file__).parents[1] / "pages" / "chat_test.html"


@get("/ws/test", sync_to_thread=False, include_in_schema=False)
def test_page() -> Response[str]:
    """Return a page to try the WebSocket with."""
    html = PAGE.read_text(encoding="utf-8")
    return Response(html, media_type="text/html", headers=page_headers(html))


def page_headers(html: str) -> dict[str, str]:
    """Return headers for a page of ours.

    Only its own inline script and style may run, and it may speak to this host only.
    """
    script, style = (_hash(html, tag) for tag in ("script", "style"))
    policy = (
        f"default-src 'none'; script-src {script}; style-src {style}; connect-src 'self' ws: wss:;"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def _hash(html: str, tag: str) -> str:
    found = re.search(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
    digest = hashlib.sha256((found[1] if found else "").encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


ROUTES = (test_page,)
