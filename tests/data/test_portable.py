"""Statements are those that SQLite and PostgreSQL share, as far as their text shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import antiphon.data.transactions as package

SOURCES = sorted(Path(package.__path__[0]).glob("*.py"))
NOT_SHARED = {
    "INSERT OR": r"INSERT OR",
    "rowid": r"\browid\b",
    "a mark without a name": r"= \?|\(\?",
    "IS NOT with a value": r"IS NOT (?!NULL)[:?\w]",
    "max or min of two": r"(?i)\b(max|min)\([^()]*,",
    "an upsert that does not say of what": r"ON CONFLICT DO UPDATE",
    "a function of SQLite's": (
        r"(?i)\b(ifnull|iif|strftime|datetime|json_extract|last_insert_rowid|printf)\("
    ),
    "a pragma": r"PRAGMA",
    "an import of one kind of database": r"sqlite|psycopg",
}


def statements(source: Path) -> str:
    """The text of a file's strings that are no docstrings, one after the other."""
    without_docstrings = re.sub(r'"""(.|\n)*?"""', "", source.read_text())
    return "\n".join(re.findall(r'"[^"\n]*"', without_docstrings)) + "\n".join(
        re.findall(r"^(?:from|import) .*", without_docstrings, re.MULTILINE)
    )


def test_there_are_statements() -> None:
    assert "INSERT INTO" in "".join(map(statements, SOURCES))


@pytest.mark.parametrize("kind", NOT_SHARED)
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_no_statement_has_what_only_one_of_them_understands(source: Path, kind: str) -> None:
    assert re.findall(NOT_SHARED[kind], statements(source)) == []
