"""Writes the gallery's table into docs/graphs.md, out of the files: what each shows is its
docstring.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.graphs.catalogue import GALLERY, names
from tests.graphs.example import FAMILIES

PAGE = Path(__file__).parents[2] / "docs" / "graphs.md"
BEGIN, END = "<!-- gallery: written by tests/graphs/test_page.py -->\n", "<!-- end of gallery -->\n"


def with_table(page: str) -> str:
    """Return the page with the gallery's table as it must be. Raises `ValueError` if it has no
    place for it.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError("docs/graphs.md has no place for the gallery")
    return before + begin + "\n" + "\n".join(_lines()) + "\n" + end + after


def _lines() -> Iterator[str]:
    found = {name: described(name) for name in names()}
    for family in FAMILIES:
        yield f"### {family}"
        yield ""
        yield "| file | what it shows |"
        yield "|---|---|"
        for name, (its_family, text) in found.items():
            if its_family == family:
                yield f"| [{name}](../tests/graphs/gallery/{_file(name)}) | {text} |"
        yield ""


def _file(name: str) -> str:
    return name if (GALLERY / name).is_dir() else f"{name}.py"


def described(name: str) -> tuple[str, str]:
    """Return a graph's family and what it shows, without importing it."""
    folder = GALLERY / name
    tree = ast.parse(
        (folder / "shows.py" if folder.is_dir() else folder.with_suffix(".py")).read_text()
    )
    text = " ".join((ast.get_docstring(tree) or "").split())
    keywords = (
        node for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "family"
    )
    return ast.literal_eval(next(keywords).value), text.replace("|", "\\|")
