"""A factory that is a coroutine function, as one writes it to load something first."""

import asyncio

from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from langgraph.graph.state import CompiledStateGraph

from tests.graphs.example import Example, Turn


async def prompt() -> str:
    """Stands for something that is loaded."""
    await asyncio.sleep(0)
    return "You are loaded."


async def make_graph() -> CompiledStateGraph:
    """Return the agent."""
    model = ChatOpenAI(model="factory_async", use_responses_api=False)
    return create_agent(model, [], system_prompt=await prompt(), name="loaded")


SHOWS = Example(
    family="Shapes of projects",
    graph="make_graph",
    turns=[
        Turn("Hello", "Hello.", agents=["loaded"], by="loaded"),
        Turn("Bye", "Bye.", agents=["loaded"], by="loaded"),
    ],
    model={"You are loaded.\nuser: Hello": "Hello.", "Hello.\nuser: Bye": "Bye."},
)
