"""What can be set for each run."""

import os
from dataclasses import dataclass

LIMIT = int(os.environ["MEMORY_LIMIT"])


@dataclass(kw_only=True)
class Context:
    """Whose memories these are, and which model to ask."""

    user_id: str = "default"
    model: str = "project_memory"
