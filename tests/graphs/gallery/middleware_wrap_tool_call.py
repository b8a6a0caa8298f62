"""`wrap_tool_call`: middleware around a tool, here one that hides what the tool should not say."""

from collections.abc import Awaitable, Callable
from typing import Any

from langchain.agents import create_agent
from langchain.agents.middleware import wrap_tool_call
from langchain.tools.tool_node import ToolCallRequest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call


@tool
def account(name: str) -> str:
    """What is known about a customer."""
    return f"{name}, card 4111"


@wrap_tool_call
async def hidden(
    request: ToolCallRequest, handler: Callable[[ToolCallRequest], Awaitable[Any]]
) -> ToolMessage:
    message = await handler(request)
    return message.model_copy(update={"content": message.text.replace("4111", "****")})


graph = create_agent(
    ChatOpenAI(model="middleware_wrap_tool_call", use_responses_api=False),
    [account],
    middleware=[hidden],
    name="bank",
)

SHOWS = Example(
    family="Middleware",
    turns=[
        Turn("Who is Bob?", "Bob has a card.", agents=["bank"], by="bank"),
        Turn("Who is Eve?", "Eve has a card, too.", agents=["bank"], by="bank"),
    ],
    model={
        "user: Who is Bob?": call("account", name="Bob"),
        "tool: Bob, card ****": "Bob has a card.",
        "user: Who is Eve?": call("account", name="Eve"),
        "tool: Eve, card ****": "Eve has a card, too.",
    },
)
