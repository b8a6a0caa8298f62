"""The agent's graph."""

from typing import Literal

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.runtime import Runtime

from weather_agent.context import Context

from .state import InputState, State
from .tools import TOOLS


async def call_model(state: State, runtime: Runtime[Context]) -> dict[str, list[AIMessage]]:
    """Ask the model."""
    model = ChatOpenAI(model=runtime.context.model, use_responses_api=False).bind_tools(TOOLS)
    asked = [("system", runtime.context.system_prompt), *state.messages]
    reply = await model.ainvoke(asked)
    if state.is_last_step and reply.tool_calls:
        reply = AIMessage("I have found no answer in so few steps.", id=reply.id)
    return {"messages": [reply]}


def route_model_output(state: State) -> Literal["__end__", "tools"]:
    """Go on with the tools if the model wants one."""
    last = state.messages[-1]
    return "tools" if isinstance(last, AIMessage) and last.tool_calls else "__end__"


builder = StateGraph(State, input_schema=InputState, context_schema=Context)
builder.add_node(call_model)
builder.add_node("tools", ToolNode(TOOLS))
builder.add_edge("__start__", "call_model")
builder.add_conditional_edges("call_model", route_model_output)
builder.add_edge("tools", "call_model")
graph = builder.compile(name="Weather agent")
