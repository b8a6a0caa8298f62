"""A project with a long-term memory by `runtime.store`, written by a tool, read before the model
is asked.
"""

from tests.graphs.example import Example, Turn, call

SHOWS = Example(
    family="Shapes of projects",
    module="memory_agent.graph",
    turns=[
        Turn("I like tea.", "I have noted it.", agents=["call_model", "store_memory"]),
        Turn("What do I like?", "You like tea.", agents=["call_model"], fresh=True),
    ],
    model={
        "user: I like tea.": call("upsert_memory", content="likes tea", key="taste"),
        "tool: stored taste": "I have noted it.",
        "Memories: likes tea\nuser: What do I like?": "You like tea.",
    },
)
