"""Two tools of one `ToolNode` that each call `interrupt()`: every answer reaches the tool that
asked.
"""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition
from langgraph.types import interrupt

from tests.graphs.example import Example, Turn, call, together


@tool
async def pay(name: str) -> str:
    """Pay somebody."""
    return f"pay {name}: {interrupt(f'Pay {name}?')}"


@tool
async def delete(table: str) -> str:
    """Delete a table."""
    return f"delete {table}: {interrupt(f'Delete {table}?')}"


model = ChatOpenAI(model="approve_inside_tools", use_responses_api=False).bind_tools([pay, delete])


async def clerk(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node(clerk)
builder.add_node("tools", ToolNode([pay, delete]))
builder.add_edge(START, "clerk")
builder.add_conditional_edges("clerk", tools_condition)
builder.add_edge("tools", "clerk")
graph = builder.compile()

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Pay Bob, delete logs.", asks=["Pay Bob?"], agents=["clerk", "tools"]),
        Turn("yes", asks=["Delete logs?"], agents=["tools"]),
        Turn("no", "Bob is paid, the logs stay.", agents=["tools", "clerk"], by="clerk"),
    ],
    model={
        "user: Pay Bob, delete logs.": together(
            call("pay", name="Bob"), call("delete", table="logs")
        ),
        "tool: pay Bob: yes\ntool: delete logs: no": "Bob is paid, the logs stay.",
    },
)
