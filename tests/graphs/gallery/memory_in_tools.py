"""Tools of an agent that keep and find things by `runtime.store`, with its synchronous half."""

from langchain.agents import create_agent
from langchain.tools import ToolRuntime
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call


@tool
def keep(name: str, number: str, runtime: ToolRuntime) -> str:
    """Keep a telephone number."""
    runtime.store.put(("numbers",), name, {"number": number})
    return f"kept {name}"


@tool
def find(name: str, runtime: ToolRuntime) -> str:
    """Find a telephone number."""
    item = runtime.store.get(("numbers",), name)
    return item.value["number"] if item else "unknown"


graph = create_agent(
    ChatOpenAI(model="memory_in_tools", use_responses_api=False), [keep, find], name="operator"
)

SHOWS = Example(
    family="Memory",
    turns=[
        Turn("Ada has 555-1.", "I have it.", agents=["operator"], by="operator"),
        Turn("Number of Ada?", "It is 555-1.", agents=["operator"], by="operator", fresh=True),
        Turn("Of Bob?", "I have none.", agents=["operator"], by="operator"),
    ],
    model={
        "user: Ada has 555-1.": call("keep", name="Ada", number="555-1"),
        "tool: kept Ada": "I have it.",
        "user: Number of Ada?": call("find", name="Ada"),
        "tool: 555-1": "It is 555-1.",
        "user: Of Bob?": call("find", name="Bob"),
        "tool: unknown": "I have none.",
    },
)
