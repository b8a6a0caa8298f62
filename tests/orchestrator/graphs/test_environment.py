"""The environment that a project gives its graphs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.orchestrator.graphs.environment import read_env_file, set_environment
from tests.orchestrator.projects import forgetting
from tests.orchestrator.support import UNHURRIED


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A=1", {"A": "1"}),
        ("# note\n\nexport A = two words   # note\nB=", {"A": "two words", "B": ""}),
        (
            "A='single # not a note' # note\nB=pass#word",
            {"A": "single # not a note", "B": "pass#word"},
        ),
        (r'A="tab\t, \"quote\", back\\slash"', {"A": 'tab\t, "quote", back\\slash'}),
        ('A="two\nlines"\nB=1', {"A": "two\nlines", "B": "1"}),
        ("A=1\nB=${A}-${MISSING:-else}-${MISSING}", {"A": "1", "B": "1-else-"}),
        ("A=1\nnonsense\n=2\n1A=3\nB=2", {"A": "1", "B": "2"}),
        ("\ufeffA=1\r\nB=2\r\n", {"A": "1", "B": "2"}),
        ("KEY=sk-a/b+c==", {"KEY": "sk-a/b+c=="}),
    ],
)
def test_a_file_is_read_as_people_write_them(
    tmp_path: Path, text: str, expected: dict[str, str]
) -> None:
    path = tmp_path / ".env"
    path.write_bytes(text.encode())
    assert read_env_file(path) == expected


def test_values_refer_to_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WHO", "ada")
    (tmp_path / "env").write_text("HOME_OF=/home/${WHO}\nWHO=bob\nNOW=${WHO}\n")
    assert read_env_file(tmp_path / "env") == {"HOME_OF": "/home/ada", "WHO": "bob", "NOW": "bob"}


NAMES = st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True)
VALUES = st.text(st.characters(exclude_characters="'\r\0$", exclude_categories=["Cs"]))


@UNHURRIED
@given(st.dictionaries(NAMES, VALUES))
def test_whatever_stands_in_single_quotes_is_taken_as_it_is(
    tmp_path: Path, values: dict[str, str]
) -> None:
    path = tmp_path / ".env"
    path.write_bytes("".join(f"{name}='{value}'\n" for name, value in values.items()).encode())
    assert read_env_file(path) == values


def test_variables_are_set_over_what_they_are_and_removed_by_null(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GONE", "x")
    monkeypatch.setenv("CHANGED", "x")
    with forgetting():
        set_environment({"GONE": None, "CHANGED": "y", "NUMBER": 1.5, "YES": True})
        found = [os.environ.get(name) for name in ("GONE", "CHANGED", "NUMBER", "YES")]
        assert found == [None, "y", "1.5", "true"]
