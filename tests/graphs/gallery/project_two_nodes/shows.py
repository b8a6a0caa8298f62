"""A package without `src`: `dependencies` names its folder, and its files import each other by its
name.
"""

from tests.graphs.example import Example, Turn, call

SHOWS = Example(
    family="Shapes of projects",
    module="flow.agent",
    turns=[
        Turn("Find tea.", "Found: tea is a leaf.", agents=["agent", "action"], by="agent"),
        Turn("Find milk.", "Found: milk is white.", agents=["agent", "action"], by="agent"),
    ],
    model={
        "user: Find tea.": call("search", query="tea"),
        "tool: tea is a leaf": "Found: tea is a leaf.",
        "user: Find milk.": call("search", query="milk"),
        "tool: milk is white": "Found: milk is white.",
    },
)
