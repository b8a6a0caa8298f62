"""The one deadline of all waits in the suite."""

from __future__ import annotations

DEADLINE = 60.0
"""Seconds after which something that must happen counts as not happening.

Generous, because the machine may be busy: a test that passes never waits so long. Where something
must happen *soon*, the test is to compare with what else happens, not with a clock. """
