"""`HumanInTheLoopMiddleware`: a tool call waits for a human, whose plain "yes" or "no" decides."""

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call


@tool
def pay(name: str, amount: int) -> str:
    """Pay somebody."""
    return f"paid {amount} to {name}"


asks = HumanInTheLoopMiddleware(interrupt_on={"pay": {"allowed_decisions": ["approve", "reject"]}})
graph = create_agent(
    ChatOpenAI(model="approve_with_middleware", use_responses_api=False),
    [pay],
    middleware=[asks],
    name="cashier",
)

YES = {"decisions": [{"type": "approve"}]}
NO = {"decisions": [{"type": "reject"}]}
SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Pay Bob 10.", asks=["pay"], agents=["cashier"]),
        Turn("yes", "Bob has his 10.", agents=["cashier"], by="cashier", resume=YES),
        Turn("Pay Eve 5.", asks=["pay"], agents=["cashier"]),
        Turn("no", "Eve gets nothing.", agents=["cashier"], by="cashier", resume=NO),
    ],
    model={
        "user: Pay Bob 10.": call("pay", name="Bob", amount=10),
        "tool: paid 10 to Bob": "Bob has his 10.",
        "user: Pay Eve 5.": call("pay", name="Eve", amount=5),
        "Pay Eve 5. ... tool: User rejected ...": "Eve gets nothing.",
    },
)
