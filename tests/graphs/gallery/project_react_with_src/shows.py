"""A project with `src` layout: relative imports, `context_schema` with defaults, `env` before the
import.
"""

from tests.graphs.example import Example, Turn, call

AGENTS = ("call_model", "tools")
SHOWS = Example(
    family="Shapes of projects",
    module="weather_agent.graph",
    turns=[
        Turn("Paris?", "21 degrees.", agents=AGENTS, by="call_model"),
        Turn("Rome?", "27 degrees.", agents=AGENTS, by="call_model"),
    ],
    model={
        "system: You know the weather. ... user: Paris?": call("temperature", city="Paris"),
        "tool: 21 degrees": "21 degrees.",
        "user: Rome?": call("temperature", city="Rome"),
        "tool: 27 degrees": "27 degrees.",
    },
)
