"""Markdown and plain text into chunks: by headings first, then by paragraphs up to a size."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.types import PUBLIC, Chunk, Document

CHUNK = 1200
"""Characters that a chunk should not exceed. A single paragraph or table row is never cut."""

_FRONT_MATTER = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)\s*#*$")


def read_document(uri: str, text: str) -> Document:
    """A document from a file's text. Front matter may give `title` and `access`; the first heading is the default."""
    text = text.replace("\r\n", "\n")
    meta: dict[str, str] = {}
    if match := _FRONT_MATTER.match(text):
        meta = _front_matter(match[1])
        text = text[match.end() :]
    return Document(
        uri=uri, title=meta.get("title") or _first_heading(text) or uri, access=meta.get("access", PUBLIC), text=text
    )


def _front_matter(block: str) -> dict[str, str]:
    pairs = (line.partition(":") for line in block.splitlines() if ":" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _first_heading(text: str) -> str | None:
    return next((m[2] for line in text.splitlines() if (m := _HEADING.match(line))), None)


def split(document: Document) -> list[Chunk]:
    """A document's chunks, in order. Every chunk stands below one heading; long tables repeat their header row."""
    chunks: list[Chunk] = []
    for path, body in _sections(document):
        for text in _pieces(body):
            chunks.append(
                Chunk(document=document.uri, ordinal=len(chunks), heading=path, text=text, access=document.access)
            )
    return chunks


def _sections(document: Document) -> Iterator[tuple[str, str]]:
    """`(heading path, text)` for each heading that has text of its own."""
    levels: list[tuple[int, str]] = []
    lines: list[str] = []
    fenced = False
    for line in [*document.text.split("\n"), None]:
        if line is not None and line.startswith("```"):
            fenced = not fenced
        heading = _HEADING.match(line) if line is not None and not fenced else None
        if line is None or heading:
            body = "\n".join(lines).strip()
            if body:
                titles = [title for _, title in levels]
                if not titles or titles[0] != document.title:
                    titles.insert(0, document.title)
                yield " › ".join(titles), body
            lines = []
        if heading:
            level = len(heading[1])
            levels = [entry for entry in levels if entry[0] < level] + [(level, heading[2])]
        elif line is not None:
            lines.append(line)


def _pieces(body: str) -> Iterator[str]:
    """A section's text in pieces of about `CHUNK` characters, cut between blocks."""
    piece = ""
    for block in _blocks(body):
        if piece and len(piece) + len(block) > CHUNK:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{block}" if piece else block
    if piece:
        yield piece


def _blocks(body: str) -> Iterator[str]:
    """Paragraphs and lists as they are; tables too long for a chunk in parts that repeat the header."""
    for block in re.split(r"\n\s*\n", body):
        rows = block.strip("\n").split("\n")
        if len(block) <= CHUNK or not rows[0].lstrip().startswith("|"):
            yield block.strip("\n")
            continue
        header = rows[:2]
        part: list[str] = []
        for row in rows[2:]:
            if part and sum(map(len, header + part)) + len(row) > CHUNK:
                yield "\n".join(header + part)
                part = []
            part.append(row)
        yield "\n".join(header + part)
