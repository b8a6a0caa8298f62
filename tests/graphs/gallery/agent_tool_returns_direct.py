"""A tool with `return_direct=True`: what it returns is the answer, and the model is not asked
again.
"""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call

OPENING_HOURS = {"shop": "Nine to five.", "bar": "Five to nine."}


@tool(return_direct=True)
def opening_hours(place: str) -> str:
    """When a place is open, in words that customers may read."""
    return OPENING_HOURS[place]


graph = create_agent(
    ChatOpenAI(model="agent_tool_returns_direct", use_responses_api=False),
    [opening_hours],
    name="clerk",
)

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn("When is the shop open?", "Nine to five.", agents=["clerk"], by="clerk"),
        Turn("And the bar?", "Five to nine.", agents=["clerk"], by="clerk"),
    ],
    model={
        "user: When is the shop open?": call("opening_hours", place="shop"),
        "tool: Nine to five. ... user: And the bar?": call("opening_hours", place="bar"),
    },
)
