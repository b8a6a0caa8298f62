"""The vocabularies that are tested: those of the product, and the one that the docs show."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from tests.api.dialects.toy import Toy

PRODUCT = tuple(DIALECTS)
"""Names of the rows that a server in a process of its own has."""
TABLE: dict[str, Dialect] = {**DIALECTS, Toy.name: Toy()}


@contextmanager
def registered() -> Iterator[None]:
    """Give the product's table all these rows, for servers that start within the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, dialect in TABLE.items():
            patch.setitem(DIALECTS, name, dialect)
        yield
