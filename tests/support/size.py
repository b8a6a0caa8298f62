"""How much is tried where more finds more: little in `make test`, everything in
`make test SIZE=full`."""

from __future__ import annotations

import os

FULL = os.environ.get("SIZE") == "full"


def trials(full: int, short: int) -> int:
    """Return how many examples, runs or steps are tried: `short`, unless everything is wanted."""
    return full if FULL else short
