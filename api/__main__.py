"""`python -m antiphon.api` is the command `antiphon`."""

from __future__ import annotations

from antiphon.api.cli import main

main()
