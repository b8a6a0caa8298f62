"""Limits of a request. Pure."""

from __future__ import annotations

MESSAGE_LIMIT = 32_000
"""Characters of one message."""
TITLE_LIMIT = 200
"""Characters of a thread's title."""
VALUE_DEPTH = 100
"""The depth of lists and objects inside each other in a client's own value."""
STEPS_LIMIT = 10_000
"""The most steps that a request may allow its graph."""
TAGS_LIMIT = 32
"""Tags of one request."""
TAG_LIMIT = 200
"""Characters of one tag."""
INTEGER = 2**63
"""Integers in a client's own value lie between this and its negative."""
