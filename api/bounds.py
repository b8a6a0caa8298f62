"""What settings and requests may ask for at most. Pure."""

from __future__ import annotations

CHUNK_WORDS_LIMIT = 1000
"""Words that a token may be made to have at most."""
CHUNK_DELAY_LIMIT = 1000
"""Milliseconds between two tokens at most."""
