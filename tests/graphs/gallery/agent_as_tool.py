"""An agent as the tool of another one, called by a plain function with `.invoke`.

The inner agent is seen at work, but what it says is material: only the outer agent answers.
"""

from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI

from tests.graphs.example import Example, Turn, call

model = ChatOpenAI(model="agent_as_tool", use_responses_api=False)
researcher = create_agent(model, [], system_prompt="You research.", name="researcher")


@tool
def research(topic: str) -> str:
    """Ask the researcher about a topic."""
    found = researcher.invoke({"messages": [("user", topic)]})
    return str(found["messages"][-1].text)


graph = create_agent(model, [research], system_prompt="You are the boss.", name="boss")

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn(
            "Write about tea.",
            "Tea, says my researcher, is a leaf.",
            agents=["boss", "researcher"],
            by="boss",
        ),
        Turn(
            "Write about milk.",
            "Milk, though, is a drink.",
            agents=["boss", "researcher"],
            by="boss",
        ),
    ],
    model={
        "boss. ... user: Write about tea.": call("research", topic="tea"),
        "You research.\nuser: tea": "Tea is a leaf.",
        "boss. ... tool: Tea is a leaf.": "Tea, says my researcher, is a leaf.",
        "boss. ... user: Write about milk.": call("research", topic="milk"),
        "You research.\nuser: milk": "Milk is a drink.",
        "boss. ... tool: Milk is a drink.": "Milk, though, is a drink.",
    },
)
