"""Take the body of a completion apart: server-sent events, or one JSON document. Pure.

Endpoints end lines with LF, CRLF or CR, write `data:` with and without a space, send comments, and
put one JSON text on several `data:` lines. Some answer with a whole completion although a stream
was requested.
"""

from __future__ import annotations

from antiphon.orchestrator.errors import NoCompletion

DONE = b"[DONE]"
BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of one event, or of a whole completion."""
_BOM = b"\xef\xbb\xbf"


class BodyReader:
    """Collects bytes and returns the JSON texts in them. `done` reports that the endpoint said it
    was at its end.
    """

    def __init__(self) -> None:
        self.done = False
        self._rest = b""
        self._data: list[bytes] = []
        self._is_document: bool | None = None

    def feed(self, data: bytes) -> list[bytes]:
        """Return the texts that are complete now. Raises `NoCompletion` for HTML and for endless
        lines.
        """
        self._rest += data
        if len(self._rest) > BODY_LIMIT:
            raise NoCompletion(f"more than {BODY_LIMIT} bytes in one piece")
        if self._is_document is None:
            start = self._rest.removeprefix(_BOM).lstrip()
            if not start or _BOM.startswith(start):
                return []
            if start.startswith(b"<"):
                raise NoCompletion("a page of HTML")
            self._is_document = start[:1] in b"{["
            self._rest = start
        return [] if self._is_document else self._lines()

    def close(self) -> list[bytes]:
        """Return what the end of the body completes."""
        if self._is_document:
            self.done = True
            return [self._rest]
        self._rest += b"\n\n"
        return self._lines()

    def _lines(self) -> list[bytes]:
        held_back = b""
        if self._rest.endswith(b"\r"):  # half of a CRLF, perhaps
            self._rest, held_back = self._rest[:-1], b"\r"
        lines = self._rest.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        self._rest = lines.pop() + held_back
        texts: list[bytes] = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
            elif not line and self._data:
                text = b"\n".join(self._data).strip()
                self._data = []
                if text == DONE:
                    self.done = True
                elif text:
                    texts.append(text)
        return texts
