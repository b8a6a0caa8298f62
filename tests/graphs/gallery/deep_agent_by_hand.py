"""The pattern of deep agents: a list of to-dos, files in the state, and a sub-agent as a tool.

A file that was written in one turn can be read in the next.
"""

from typing import Annotated, NotRequired

from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, AgentState, TodoListMiddleware
from langchain.tools import ToolRuntime
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.types import Command

from tests.graphs.example import Example, Turn, call

model = ChatOpenAI(model="deep_agent_by_hand", use_responses_api=False)
researcher = create_agent(model, [], system_prompt="You research.", name="researcher")


def merged(files: dict | None, news: dict) -> dict:
    return (files or {}) | news


class Files(AgentState):
    files: NotRequired[Annotated[dict[str, str], merged]]


@tool
def write_file(path: str, content: str, runtime: ToolRuntime) -> Command:
    """Write a file."""
    done = ToolMessage(f"wrote {path}", tool_call_id=runtime.tool_call_id)
    return Command(update={"files": {path: content}, "messages": [done]})


@tool
def read_file(path: str, runtime: ToolRuntime) -> str:
    """Read a file."""
    return runtime.state.get("files", {}).get(path, "no such file")


@tool
async def task(description: str) -> str:
    """Let a sub-agent do something, and return what it found."""
    found = await researcher.ainvoke({"messages": [("user", description)]})
    return str(found["messages"][-1].text)


class FileMiddleware(AgentMiddleware):
    """Gives an agent files."""

    state_schema = Files
    tools = (write_file, read_file)


graph = create_agent(
    model, [task], middleware=[TodoListMiddleware(), FileMiddleware()], name="deep"
)

TODOS = [
    {"content": "research", "status": "in_progress"},
    {"content": "write", "status": "pending"},
]
SHOWS = Example(
    family="Many agents",
    turns=[
        Turn("Report on tea.", "The report is written.", agents=["deep", "researcher"], by="deep"),
        Turn("What does it say?", "It says that tea is a leaf.", agents=["deep"], by="deep"),
    ],
    model={
        "user: Report on tea.": call("write_todos", todos=TODOS),
        "tool: Updated todo list to ...}]": call("task", description="What is tea?"),
        "You research.\nuser: What is tea?": "Tea is a leaf.",
        "tool: Tea is a leaf. ... user: What does it say?": call("read_file", path="tea.md"),
        "What does it say? ... tool: Tea is a leaf.": "It says that tea is a leaf.",
        "tool: Tea is a leaf.": call("write_file", path="tea.md", content="Tea is a leaf."),
        "tool: wrote tea.md": "The report is written.",
    },
)
