"""`create_agent(name=...)`: whatever nodes it has inside, clients see one agent of that name."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


graph = create_agent(
    ChatOpenAI(model="agent_with_name", use_responses_api=False),
    [add],
    system_prompt="You calculate.",
    name="calculator",
)

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn("What is 2 + 3?", "Adding. 2 + 3 = 5.", agents=["calculator"], by="calculator"),
        Turn("Thanks!", "You are welcome.", agents=["calculator"], by="calculator"),
    ],
    model={
        "user: What is 2 + 3?": call("add", a=2, b=3),
        "tool: 5": "Adding. 2 + 3 = 5.",
        "2 + 3 = 5. ... user: Thanks!": "You are welcome.",
    },
)
