"""Server-sent events as bytes. Pure.

LF only, `event:` and `id:` before one `data:` line, and the three line separators that some clients
split at are escaped, so that readers work that take the stream line by line.
"""

from __future__ import annotations

HEADERS = {
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}
MEDIA_TYPE = "text/event-stream"
"""The framework adds the charset."""
OPEN = b": open\n\n"
"""Sent at once, so that headers pass through proxies."""
HEARTBEAT = b": hb\n"
RETRY = b"retry: 2000\n"
"""Goes with the first event: milliseconds after which an EventSource reconnects."""

_SEPARATORS = (
    (b"\xe2\x80\xa8", b"\\u2028"),
    (b"\xe2\x80\xa9", b"\\u2029"),
    (b"\xc2\x85", b"\\u0085"),
)


def encode(data: bytes, cursor: str, event: str | None = None) -> bytes:
    """Return one event. `data` is one line; `event` and `cursor` are ours, without line breaks."""
    for raw, escaped in _SEPARATORS:
        if raw in data:
            data = data.replace(raw, escaped)
    name = f"event: {event}\n".encode() if event else b""
    return b"%sid: %s\ndata: %s\n\n" % (name, cursor.encode(), data)
