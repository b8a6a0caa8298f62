"""What a request may hold at most. Pure."""

from __future__ import annotations

MESSAGE_LIMIT = 32_000
"""Characters of one message."""
TITLE_LIMIT = 200
"""Characters of a thread's title."""
VALUE_DEPTH = 100
"""Lists and objects inside each other in a client's own value."""
STEPS_LIMIT = 10_000
"""Steps that a request may allow its graph at most."""
TAGS_LIMIT = 32
TAG_LIMIT = 200
"""Characters of one tag."""
INTEGER = 2**63
"""Integers of a client's own value lie between this and its negative."""
