"""Documents, chunks and hits as plain values."""

from __future__ import annotations

import msgspec

PUBLIC = "public"
"""The access label that every reader has."""


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """One source text. `uri` names it; `access` is the label that a reader needs to see any of it.

    `source` is the file it was read from, which only the store knows.
    """

    uri: str
    title: str
    text: str
    access: str = PUBLIC
    source: str = ""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A passage of a document, small enough to be a citation.

    `ordinal` counts from 0; `heading` is the path of headings above it.
    """

    document: str
    ordinal: int
    heading: str
    text: str
    access: str


class ScoredChunk(msgspec.Struct, frozen=True, kw_only=True):
    """A chunk that answers a query.

    Higher scores are better; they compare within one query only.
    """

    chunk: Chunk
    score: float

    @property
    def id(self) -> str:
        """The chunk's name: `document#ordinal`."""
        return f"{self.chunk.document}#{self.chunk.ordinal}"
