"""A new event is a class and its name: the log, native frames, schemas and the page follow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_event_of_the_page_needs_a_class_and_its_name(tmp_path: Path) -> None:
    """The vocabulary is closed once it is imported, so this happens in a process of its own."""
    program = [sys.executable, "-W", "error", "-m", "tests.support.new_event"]
    child = subprocess.run(
        [*program, f"sqlite:///{tmp_path / 'chat.db'}"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        timeout=100,
        check=False,
    )
    assert child.returncode == 0, child.stderr
