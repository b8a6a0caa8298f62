"""FTS5 in an SQLite file of its own: stemmed full text, titles weighted, access labels inside the match.

A label is a token of a column with weight 0, so what a reader may not see is never even ranked.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Collection, Sequence
from hashlib import sha256
from pathlib import Path

from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from antiphon.rag.types import Chunk, Document, Hit

BUSY_SECONDS = 10
"""How long to wait for another process."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS documents (uri TEXT PRIMARY KEY, title TEXT NOT NULL, access TEXT NOT NULL, source TEXT);
CREATE VIRTUAL TABLE IF NOT EXISTS chunks USING fts5(
    heading, body, label, document UNINDEXED, ordinal UNINDEXED, access UNINDEXED, tokenize = 'porter unicode61'
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
    """Create what is missing. Servers that begin together meet here, and a change to WAL does not wait by itself."""
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(_SCHEMA)
    if "source" not in [column[1] for column in connection.execute("PRAGMA table_info(documents)")]:
        connection.execute("ALTER TABLE documents ADD COLUMN source TEXT")  # a file of an earlier version


def _opened(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=BUSY_SECONDS
    )
    try:
        _set_up(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class SqliteStore:
    """`antiphon.rag.stores.base.Store` on one file. Safe to call from several threads.

    Raises `OSError` if the file cannot be opened.
    """

    def __init__(self, url: str) -> None:
        path = Path(url.removeprefix("sqlite:///")).expanduser().absolute()
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = _opened(path)
        except (OSError, sqlite3.Error) as error:
            raise OSError(f"cannot open {path}: {error}") from error

    def put(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Replace a document, atomically."""
        with self._lock, self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM chunks WHERE document = ?", (document.uri,))
            connection.execute(
                "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?)",
                (document.uri, document.title, document.access, document.source or None),
            )
            connection.executemany(
                "INSERT INTO chunks (heading, body, label, document, ordinal, access) VALUES (?, ?, ?, ?, ?, ?)",
                [(c.heading, c.text, _label(c.access), c.document, c.ordinal, c.access) for c in chunks],
            )

    def search(self, words: Sequence[str], access: Collection[str], limit: int) -> list[Hit]:
        """BM25 over headings and bodies of what may be seen."""
        if not words or not access:
            return []
        terms = " OR ".join(_quoted(word) for word in words)
        labels = " OR ".join(_label(one) for one in access)
        with self._lock:
            rows = self._connection.execute(
                _SEARCH, (f"label : ({labels}) AND {{heading body}} : ({terms})", limit)
            ).fetchall()
        return [
            Hit(
                chunk=Chunk(document=document, ordinal=ordinal, heading=heading, text=body, access=label),
                score=round(score, 4),
            )
            for document, ordinal, heading, body, label, score in rows
        ]

    def sources(self) -> dict[str, str]:
        """What was given as the documents' sources."""
        with self._lock:
            return dict(self._connection.execute("SELECT uri, source FROM documents WHERE source IS NOT NULL"))

    def documents(self) -> int:
        """How many documents there are."""
        with self._lock:
            count: int = self._connection.execute("SELECT count(*) FROM documents").fetchone()[0]
        return count

    def clear(self) -> None:
        """Forget all documents."""
        with self._lock, self._connection as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("DELETE FROM chunks")
            connection.execute("DELETE FROM documents")

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _quoted(word: str) -> str:
    """A word as an FTS5 string: nothing in it is syntax."""
    return '"' + word.replace('"', '""').replace("\0", " ") + '"'


def _label(access: str) -> str:
    """A token that no text contains and no user text can forge."""
    return "label" + sha256(access.encode()).hexdigest()[:16]
