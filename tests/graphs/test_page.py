"""The page about graphs has the gallery as it is."""

from __future__ import annotations

import os

import pytest

from tests.graphs import catalogue
from tests.graphs.example import FAMILIES
from tests.graphs.page import PAGE, described, with_table


def test_the_table_of_the_gallery_is_what_the_files_say() -> None:
    """`UPDATE_GOLDEN=1 pytest …` writes it anew."""
    page = PAGE.read_text(encoding="utf-8")
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(with_table(page), encoding="utf-8")
        page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page)


@pytest.mark.parametrize("name", catalogue.names())
def test_a_graph_says_what_it_shows_and_where_it_belongs(name: str) -> None:
    family, text = described(name)
    assert family in FAMILIES
    assert 30 < len(text) < 300
