"""ReAct by hand: a model node and a `ToolNode`, in a loop until the model asks for no tool.

What the model says before it calls a tool belongs to the answer.
"""

from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from tests.graphs.example import Example, Turn, call


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return {"Paris": "sunny", "Rome": "rainy"}[city]


model = ChatOpenAI(model="react_by_hand", use_responses_api=False).bind_tools([weather])


def agent(state: MessagesState) -> dict:
    return {"messages": [model.invoke(state["messages"])]}


builder = StateGraph(MessagesState)
builder.add_node(agent)
builder.add_node("tools", ToolNode([weather]))
builder.add_edge(START, "agent")
builder.add_conditional_edges("agent", tools_condition)
builder.add_edge("tools", "agent")
graph = builder.compile()

SHOWS = Example(
    family="ReAct",
    turns=[
        Turn(
            "How is Paris?",
            "Let me look.\n\nIt is sunny in Paris.",
            agents=["agent", "tools"],
            by="agent",
        ),
        Turn("And Rome?", "Rainy, unlike Paris.", agents=["agent", "tools"], by="agent"),
    ],
    model={
        "user: How is Paris?": call("weather", city="Paris", saying="Let me look."),
        "user: How is Paris? ... tool: sunny": "It is sunny in Paris.",
        "tool: sunny ... user: And Rome?": call("weather", city="Rome"),
        "tool: sunny ... tool: rainy": "Rainy, unlike Paris.",
    },
)
