"""The vocabularies that all are tested:

those of the product, and the one that the documentation shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from antiphon.api.dialects import DIALECTS
from antiphon.api.dialects.base import Dialect
from tests.api.dialects.toy import Toy

TABLE: dict[str, Dialect] = {**DIALECTS, Toy.name: Toy()}


@contextmanager
def registered() -> Iterator[None]:
    """For as long as the block lasts, the product's table has all these rows; servers that start in
    it, too.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, dialect in TABLE.items():
            patch.setitem(DIALECTS, name, dialect)
        yield
