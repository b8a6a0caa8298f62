"""Splits Markdown and plain text into chunks: at headings, then into paragraphs up to a size."""

from __future__ import annotations

import re
from collections.abc import Iterator

from antiphon.rag.types import PUBLIC, Chunk, Document

CHUNK = 1200
"""Characters that a chunk should not exceed. A single paragraph or table row is never cut."""

_FRONT_MATTER = re.compile(r"\A\s*---[ \t]*\n(.*?\n)?---[ \t]*(?:\n|\Z)", re.DOTALL)
_KEY = re.compile(r"^[ \t]*([A-Za-z][\w-]*)[ \t]*:(.*)$", re.MULTILINE)
_HEADING = re.compile(r"^(#{1,6})\s+(.*?)(?:\s+#+)?\s*$")
_FENCE = re.compile(r"^ {0,3}(```|~~~)")


def read_document(uri: str, text: str) -> Document:
    """Return a document from a file's text.

    Front matter may give `title` and `access`; otherwise the title is the first heading, or `uri`.
    """
    text = text.replace("\r\n", "\n")
    meta: dict[str, str] = {}
    block = _FRONT_MATTER.match(text)
    if block is not None:
        meta = _front_matter(block[1] or "")
    if block is not None and meta:
        text = text[block.end() :]
    title = meta.get("title") or _first_heading(text) or uri
    return Document(uri=uri, title=title, access=meta.get("access", PUBLIC), text=text)


def _front_matter(block: str) -> dict[str, str]:
    """Return keys and values of the block between two rules, whatever else is in it.

    It is lenient so that no access label is overlooked.
    """
    return {key.lower(): value.strip().strip("\"'") for key, value in _KEY.findall(block)}


def _first_heading(text: str) -> str | None:
    return next((heading[2] for _, heading in _lines(text) if heading), None)


def _lines(text: str) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Yield each line, and the match of its heading if it is one; lines of code are none."""
    fence: str | None = None
    for line in text.split("\n"):
        if mark := _FENCE.match(line):
            fence = (fence or mark[1]) if fence != mark[1] else None
        yield line, None if fence or mark else _HEADING.match(line)


def split(document: Document) -> list[Chunk]:
    """Return a document's chunks, in order.

    Every chunk is below one heading; the parts of a long table repeat its header row.
    """
    chunks: list[Chunk] = []
    for path, body in _sections(document):
        for text in _pieces(body):
            chunks.append(
                Chunk(
                    document=document.uri,
                    ordinal=len(chunks),
                    heading=path,
                    text=text,
                    access=document.access,
                )
            )
    return chunks


def _sections(document: Document) -> Iterator[tuple[str, str]]:
    """Yield `(heading path, text)` for each heading with own text, or without anything below."""
    levels: list[tuple[int, str]] = []
    lines: list[str] = []
    for line, heading in [*_lines(document.text), ("", None)]:
        if heading is None:
            lines.append(line)
            continue
        if section := _section(document, levels, lines, len(heading[1])):
            yield section
        levels = [entry for entry in levels if entry[0] < len(heading[1])] + [
            (len(heading[1]), heading[2])
        ]
        lines = []
    if section := _section(document, levels, lines, 0):
        yield section


def _section(
    document: Document, levels: list[tuple[int, str]], lines: list[str], next_level: int
) -> tuple[str, str] | None:
    """Return a heading's path and own text; a heading without any text below it is its own text."""
    body = "\n".join(lines).strip("\n")
    if not body.strip():
        if not levels or next_level > levels[-1][0]:
            return None
        body = levels[-1][1]
    titles = [title for _, title in levels]
    if not titles or titles[0] != document.title:
        titles.insert(0, document.title)
    return " › ".join(titles), body


def _pieces(body: str) -> Iterator[str]:
    """Yield a section's text in pieces of about `CHUNK` characters, cut between blocks."""
    piece = ""
    for block in _blocks(body):
        if piece and len(piece) + len(block) > CHUNK:
            yield piece
            piece = ""
        piece = f"{piece}\n\n{block}" if piece else block
    if piece:
        yield piece


def _blocks(body: str) -> Iterator[str]:
    """Yield paragraphs and lists as they are, and long tables in parts that repeat the header."""
    for block in re.split(r"\n\s*\n", body):
        rows = block.strip("\n").split("\n")
        if len(block) <= CHUNK or not rows[0].lstrip().startswith("|"):
            yield block.strip("\n")
            continue
        header = rows[:2]
        part: list[str] = []
        for row in rows[2:]:
            if part and sum(len(one) + 1 for one in header + part) + len(row) > CHUNK:
                yield "\n".join(header + part)
                part = []
            part.append(row)
        yield "\n".join(header + part)
