"""The graph's two nodes."""

from functools import cache

from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.prebuilt import ToolNode

from flow.utils.tools import tools


@cache
def _model(name: str) -> ChatOpenAI:
    names = {"openai": "project_two_nodes"}
    return ChatOpenAI(model=names[name], use_responses_api=False).bind_tools(tools)


def should_continue(state: dict) -> str:
    """Whether a tool is to be called."""
    return "continue" if state["messages"][-1].tool_calls else "end"


def call_model(state: dict, config: RunnableConfig) -> dict:
    """Ask the configured model."""
    name = config.get("configurable", {}).get("model_name", "openai")
    return {"messages": [_model(name).invoke(state["messages"])]}


tool_node = ToolNode(tools)
