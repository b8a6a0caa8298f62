"""What can be set for each run."""

from dataclasses import dataclass


@dataclass(kw_only=True)
class Context:
    """The agent's settings."""

    system_prompt: str = "You know the weather."
    model: str = "project_react_with_src"
