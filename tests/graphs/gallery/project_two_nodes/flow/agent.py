"""A model and its tools in a loop."""

from typing import Literal

from langgraph.graph import END, StateGraph
from typing_extensions import TypedDict

from flow.utils.nodes import call_model, should_continue, tool_node
from flow.utils.state import AgentState


class GraphContext(TypedDict):
    """What can be set for each run."""

    model_name: Literal["openai"]


workflow = StateGraph(AgentState, context_schema=GraphContext)
workflow.add_node("agent", call_model)
workflow.add_node("action", tool_node)
workflow.set_entry_point("agent")
workflow.add_conditional_edges("agent", should_continue, {"continue": "action", "end": END})
workflow.add_edge("action", "agent")
graph = workflow.compile()
