"""`HumanInTheLoopMiddleware(interrupt_mode="per_call")`: two questions are open at once.

An answer is for one of them, the oldest if it names none; the other one stays open.
"""

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call, together


@tool
def pay(name: str) -> str:
    """Pay somebody."""
    return f"paid {name}"


@tool
def delete(table: str) -> str:
    """Delete a table."""
    return f"deleted {table}"


asks = HumanInTheLoopMiddleware(
    interrupt_on={"pay": True, "delete": True}, interrupt_mode="per_call"
)
graph = create_agent(
    ChatOpenAI(model="approve_each_call", use_responses_api=False),
    [pay, delete],
    middleware=[asks],
    name="clerk",
)

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Pay Bob and delete it all.", asks=["pay", "delete"], agents=["clerk"]),
        Turn("yes", asks=["delete"], agents=["clerk"], resume={"type": "approve"}),
        Turn("no", "Bob is paid.", agents=["clerk"], by="clerk", resume={"type": "reject"}),
    ],
    model={
        "user: Pay Bob and delete it all.": together(
            call("pay", name="Bob"), call("delete", table="all")
        ),
        "tool: paid Bob\ntool: User rejected ...": "Bob is paid.",
    },
)
