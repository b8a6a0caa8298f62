"""`wrap_model_call` that throws a reply away and asks again: only what the agent keeps is the
answer.
"""

from collections.abc import Awaitable, Callable

from langchain.agents import create_agent
from langchain.agents.middleware import ModelRequest, ModelResponse, wrap_model_call
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn


@wrap_model_call
async def politely(
    request: ModelRequest, handler: Callable[[ModelRequest], Awaitable[ModelResponse]]
) -> ModelResponse:
    response = await handler(request)
    if "please" in response.result[0].text.lower():
        return response
    again = HumanMessage("Say it politely.")
    return await handler(request.override(messages=[*request.messages, again]))


graph = create_agent(
    ChatOpenAI(model="middleware_asks_again", use_responses_api=False),
    [],
    middleware=[politely],
    name="butler",
)

SHOWS = Example(
    family="Middleware",
    again=1,
    turns=[
        Turn("Where is my hat?", "Please look on the shelf.", agents=["butler"], by="butler"),
        Turn("And my coat?", "In the hall, please.", agents=["butler"], by="butler"),
    ],
    model={
        "user: Where is my hat?": "Find it yourself.",
        "Where is my hat?\nuser: Say it politely.": "Please look on the shelf.",
        "Please look on the shelf.\nuser: And my coat?": "In the hall, please.",
    },
)
