"""FTS5 in SQLite, in a file of its own or in memory: stemmed full text, with weighted titles.

An access label is a token of a column with weight 0, so what a reader may not see is never ranked.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path

from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from antiphon.rag.types import Chunk, Document, ScoredChunk

BUSY_SECONDS = 10
"""How long to wait for another process."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (
    uri TEXT PRIMARY KEY, title TEXT NOT NULL, access TEXT NOT NULL, source TEXT
);
CREATE VIRTUAL TABLE IF NOT EXISTS chunks USING fts5(
    heading, body, label, document UNINDEXED, ordinal UNINDEXED, access UNINDEXED,
    tokenize = 'porter unicode61'
);
"""

_SEARCH = """
SELECT document, ordinal, heading, body, access, -bm25(chunks, 3.0, 1.0, 0.0) AS score
FROM chunks WHERE chunks MATCH ? ORDER BY score DESC, document, ordinal LIMIT ?
"""


def _is_locked(error: BaseException) -> bool:
    return isinstance(error, sqlite3.OperationalError) and "locked" in str(error)


@retry(
    retry=retry_if_exception(_is_locked),
    stop=stop_after_delay(BUSY_SECONDS),
    wait=wait_fixed(0.05),
    reraise=True,
)
def _set_up(connection: sqlite3.Connection) -> None:
    """Create what is missing; retry, as SQLite does not wait for another server's switch to WAL."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_SCHEMA)
    if "source" not in [column[1] for column in connection.execute("PRAGMA table_info(documents)")]:
        connection.execute(
            "ALTER TABLE documents ADD COLUMN source TEXT"
        )  # a file of an earlier version


class SqliteStore:
    """`antiphon.rag.stores.base.Store` at `sqlite:///path` or `memory://`.

    Raises `OSError` if the file cannot be opened.
    """

    def __init__(self, url: str) -> None:
        self._lock = threading.Lock()
        try:
            self._connection = _opened(url)
        except (OSError, sqlite3.Error) as error:
            raise OSError(f"cannot open {url}: {error}") from error

    def put(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Replace a document, in one transaction."""
        with self._lock, self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM chunks WHERE document = ?", (document.uri,))
            connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
                (document.uri, document.title, document.access, document.source or None),
            )
            connection.executemany(
                "INSERT INTO chunks (heading, body, label, document, ordinal, access)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                [
                    (c.heading, c.text, _label(c.access), c.document, c.ordinal, c.access)
                    for c in chunks
                ],
            )

    def search(
        self, words: Sequence[str], access: Collection[str], limit: int
    ) -> list[ScoredChunk]:
        """Rank headings and bodies of what may be seen by BM25."""
        if not words or not access:
            return []
        terms = " OR ".join(_quoted(word) for word in words)
        labels = " OR ".join(_label(label) for label in access)
        match = f"label : ({labels}) AND {{heading body}} : ({terms})"
        with self._lock:
            rows = self._connection.execute(_SEARCH, (match, limit)).fetchall()
        return [_scored(*row) for row in rows]

    def sources(self) -> dict[str, str]:
        """Return the files that documents were read from, by uri."""
        query = "SELECT uri, source FROM documents WHERE source IS NOT NULL"
        with self._lock:
            return dict(self._connection.execute(query))

    def documents(self) -> int:
        """Return the number of documents."""
        with self._lock:
            count: int = self._connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        return count

    def clear(self) -> None:
        """Delete all documents."""
        with self._lock, self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM chunks")
            connection.execute("DELETE FROM documents")

    def close(self) -> None:
        """Close the connection, and with it a store in memory."""
        with self._lock:
            self._connection.close()


def _opened(url: str) -> sqlite3.Connection:
    """Return a connection on which the tables exist."""
    connection = sqlite3.connect(
        _location(url), isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
    )
    try:
        _set_up(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _location(url: str) -> Path | str:
    """Return what SQLite calls the place of a URL. Create its folder."""
    if url.startswith("memory:"):
        return ":memory:"
    path = Path(url.removeprefix("sqlite:///")).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _scored(
    document: str, ordinal: int, heading: str, body: str, access: str, score: float
) -> ScoredChunk:
    chunk = Chunk(document=document, ordinal=ordinal, heading=heading, text=body, access=access)
    return ScoredChunk(chunk=chunk, score=round(score, 4))


def _quoted(word: str) -> str:
    """Return a word as an FTS5 string, in which nothing is syntax."""
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'


def _label(access: str) -> str:
    """Return a label's token, which no text contains and no text of users can forge."""
    return "label" + sha256(access.encode()).hexdigest()[:16]
