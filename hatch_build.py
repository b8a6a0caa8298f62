"""Gives the wheel its `antiphon/__init__.py`; an editable install finds `antiphon.py` itself."""

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Naming(BuildHookInterface[Any]):
    """Hatch can move folders by configuration, but not rename a file for real wheels only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the file under its other name, within the package."""
        if version != "editable":
            build_data["force_include"]["antiphon.py"] = "__init__.py"
