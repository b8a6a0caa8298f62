"""What holds for the whole suite: hypothesis does not look at the clock, and no two tests share an
id."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from schemathesis.pytest.plugin import SchemathesisFunction

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Refuse tests of the same id, of which pytest-xdist would run only one.

    Schemathesis gives a test of each operation the name of its function: the operation is added.
    """
    for item in items:
        if isinstance(item, SchemathesisFunction):
            item._id = item.parent.id.child(item.name)
    twice = [name for name, count in Counter(item.nodeid for item in items).items() if count > 1]
    if twice:
        raise pytest.UsageError(f"tests of the same name: {twice}")
