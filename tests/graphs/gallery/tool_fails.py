"""A tool that raises: `ToolNode(handle_tool_errors=...)` hands the error to the model as a text."""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from tests.graphs.example import Example, Turn, call


@tool
def stock(item: str) -> int:
    """How many of an item are left."""
    if item != "tea":
        raise LookupError(f"no shelf for {item}")
    return 7


model = ChatOpenAI(model="tool_fails", use_responses_api=False).bind_tools([stock])


async def clerk(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node(clerk)
builder.add_node("tools", ToolNode([stock], handle_tool_errors="The warehouse does not know."))
builder.add_edge(START, "clerk")
builder.add_conditional_edges("clerk", tools_condition)
builder.add_edge("tools", "clerk")
graph = builder.compile()

SHOWS = Example(
    family="Failures",
    turns=[
        Turn("Any coffee?", "We do not sell coffee.", agents=["clerk", "tools"], by="clerk"),
        Turn("Any tea?", "Seven packets.", agents=["clerk", "tools"], by="clerk"),
    ],
    model={
        "user: Any coffee?": call("stock", item="coffee"),
        "tool: The warehouse does not know.": "We do not sell coffee.",
        "user: Any tea?": call("stock", item="tea"),
        "tool: 7": "Seven packets.",
    },
)
