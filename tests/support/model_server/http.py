"""HTTP/1.1, as much of it as clients of the API use."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

from tests.support.model_server.replies import JsonObject

_MAX_HEAD_BYTES = 65_536


class BadRequestError(Exception):
    """A request that cannot be parsed; the connection ends with this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class HttpRequest:
    """One parsed request; ``headers`` has names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def close(self) -> bool:
        return "close" in self.headers.get("connection", "").lower()


class Parser:
    """Incremental HTTP/1.1 request parser: ``feed`` bytes, take requests from ``next``."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: HttpRequest | None = None

    def feed(self, data: bytes) -> None:
        self._buffer += data

    @property
    def awaits_continue(self) -> bool:
        """Whether the client holds its body back until it reads "100 Continue"; True once per
        request.
        """
        head = self._head
        return head is not None and head.headers.pop("expect", "").lower() == "100-continue"

    def next(self) -> HttpRequest | None:
        """Return the next complete request, or None if more bytes are needed."""
        if self._head is None:
            self._head = self._take_head()
        if self._head is None:
            return None
        body = self._take_body(self._head)
        if body is None:
            return None
        request, self._head = self._head, None
        request.body = body
        return request

    def _take_head(self) -> HttpRequest | None:
        end = self._buffer.find(b"\r\n\r\n")
        if max(end, len(self._buffer) if end < 0 else 0) > _MAX_HEAD_BYTES:
            raise BadRequestError(431, "request head too large")
        if end < 0:
            return None
        head = bytes(self._buffer[:end]).decode("latin-1").lstrip("\r\n")
        del self._buffer[: end + 4]
        return _parse_head(head)

    def _take_body(self, head: HttpRequest) -> bytes | None:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._take_chunked()
        length = head.headers.get("content-length", "0")
        if not length.isdecimal():
            raise BadRequestError(400, "bad content-length")
        return self._take(int(length)) if len(self._buffer) >= int(length) else None

    def _take_chunked(self) -> bytes | None:
        """Decode a chunked body once all of it is there (trailers are dropped)."""
        body, at = bytearray(), 0
        while (line := self._buffer.find(b"\r\n", at)) >= 0:
            size = _chunk_size(bytes(self._buffer[at:line]))
            if size == 0:
                end = self._buffer.find(b"\r\n\r\n", line)
                if end < 0:
                    return None
                self._take(end + 4)
                return bytes(body)
            body += self._buffer[line + 2 : line + 2 + size]
            at = line + 2 + size + 2
        return None

    def _take(self, count: int) -> bytes:
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data


def _chunk_size(line: bytes) -> int:
    """Parse the size line of a chunk; extensions are ignored."""
    digits = line.partition(b";")[0].strip()
    if not re.fullmatch(rb"[0-9a-fA-F]+", digits):
        raise BadRequestError(400, "bad chunk size")
    return int(digits, 16)


def _parse_head(head: str) -> HttpRequest:
    """Parse the request line and the header lines."""
    first, *lines = head.split("\r\n")
    parts = first.split(" ")
    if len(parts) != 3:
        raise BadRequestError(400, "bad request line")
    if parts[2] != "HTTP/1.1":
        raise BadRequestError(505, "only HTTP/1.1 is spoken here")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise BadRequestError(400, "bad header line")
        key = name.lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    return HttpRequest(parts[0], parts[1].partition("?")[0], headers)


def http_chunk(data: bytes) -> bytes:
    """Frame bytes as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def response_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Encode a response head."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [
        f"HTTP/1.1 {status} {phrase}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def json_headers(body: bytes) -> dict[str, str]:
    """Return the headers of a JSON answer with a known length."""
    return {"content-type": "application/json", "content-length": str(len(body))}


_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request is invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to do this."),
    404: ("invalid_request_error", "not_found", "Not found."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}


def decode_body(http: HttpRequest) -> tuple[JsonObject, str]:
    """Decode the body of a chat request: (body, "") or (what could be decoded, what is wrong with
    it).
    """
    if http.method != "POST":
        return {}, f"Not allowed: {http.method}"
    try:
        body = json.loads(http.body)
    except ValueError:
        return {}, "We could not parse the JSON body of your request."
    if not isinstance(body, dict):
        return {}, "The body must be a JSON object."
    if not isinstance(body.get("model"), str):
        return body, "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return body, "Missing required parameter: 'messages'."
    if not all(
        isinstance(message, dict) and isinstance(message.get("role"), str) for message in messages
    ):
        return body, "Invalid value in 'messages': each message is an object with a role."
    return body, ""
