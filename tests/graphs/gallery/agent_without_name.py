"""`create_agent` without a name: its nodes, `model` and `tools`, are the agents that clients
see.
"""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call


@tool
def population(city: str) -> int:
    """How many people live in a city."""
    return {"Paris": 2_100_000, "Rome": 2_700_000}[city]


graph = create_agent(
    ChatOpenAI(model="agent_without_name", use_responses_api=False),
    [population],
    system_prompt="You know cities.",
)

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn("How big is Paris?", "Two million.", agents=["model", "tools"], by="model"),
        Turn("Is Rome bigger?", "Yes, by 600,000.", agents=["model", "tools"], by="model"),
    ],
    model={
        "system: You know cities. ... user: How big is Paris?": call("population", city="Paris"),
        "tool: 2100000": "Two million.",
        "tool: 2100000 ... user: Is Rome bigger?": call("population", city="Rome"),
        "tool: 2100000 ... tool: 2700000": "Yes, by 600,000.",
    },
)
