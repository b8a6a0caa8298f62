"""Who may: decided in one function."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import antiphon
from antiphon.data.records import Thread, may

ROOT = Path(antiphon.__path__[0])


def test_a_thread_is_its_users_own() -> None:
    thread = Thread(
        id="t",
        user_id="ada",
        title=None,
        created_at=1,
        updated_at=1,
        last_seq=0,
        head_message_id=None,
    )
    assert may("ada", thread)
    assert not may("eve", thread)
    assert not may("", thread)


@pytest.mark.parametrize("folder", ["api", "orchestrator", "data"])
def test_nobody_else_compares_users_of_threads_and_runs(folder: str) -> None:
    comparing = re.compile(r"\.user_id\s*[!=]=\s*\w+|[!=]=\s*\w+\.user_id")
    found = {
        source.relative_to(ROOT).as_posix(): comparing.findall(source.read_text())
        for source in (ROOT / folder).rglob("*.py")
    }
    queries = "data/reads/"  # which list a user's own things
    assert [name for name, places in found.items() if places and not name.startswith(queries)] == (
        ["data/records.py"] if folder == "data" else []
    )
