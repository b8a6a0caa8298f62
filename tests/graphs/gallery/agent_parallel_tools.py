"""A model that asks for two tools at once; they run side by side, and it reads both results."""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call, together

PRICES = {"tea": 3, "milk": 2, "sugar": 1}


@tool
async def price(item: str) -> str:
    """What an item costs."""
    return f"{item} costs {PRICES[item]}"


graph = create_agent(
    ChatOpenAI(model="agent_parallel_tools", use_responses_api=False), [price], name="shop"
)

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn("Tea with milk?", "Together that is 5.", agents=["shop"], by="shop"),
        Turn("And with sugar?", "Then it is 6.", agents=["shop"], by="shop"),
    ],
    model={
        "user: Tea with milk?": together(call("price", item="tea"), call("price", item="milk")),
        "tool: tea costs 3\ntool: milk costs 2": "Together that is 5.",
        "Together that is 5. ... user: And with sugar?": call("price", item="sugar"),
        "tool: sugar costs 1": "Then it is 6.",
    },
)
