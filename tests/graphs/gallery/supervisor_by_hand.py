"""A supervisor that routes by structured output, `{"next": "FINISH"}` at the end.

The routing is never shown. Workers answer with a named `HumanMessage`, as the supervisor's prompt
wants it, and the last one's words are the answer.
"""

from typing import Literal

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn

Worker = Literal["historian", "engineer"]


class Route(TypedDict):
    """Who goes on; FINISH if the question is answered."""

    next: Literal["historian", "engineer", "FINISH"]


model = ChatOpenAI(model="supervisor_by_hand", use_responses_api=False)
agents = {
    name: create_agent(model, [], system_prompt=f"You are the {name}.", name=name)
    for name in ("historian", "engineer")
}


def supervisor(state: MessagesState) -> Command[Literal["historian", "engineer", "__end__"]]:
    router = model.with_structured_output(Route)
    route = router.invoke([("system", "You are the supervisor."), *state["messages"]])
    return Command(goto=END if route["next"] == "FINISH" else route["next"])


def work(name: Worker, state: MessagesState) -> dict:
    result = agents[name].invoke({"messages": state["messages"]})
    return {"messages": [HumanMessage(result["messages"][-1].text, name=name)]}


builder = StateGraph(MessagesState)
builder.add_node(supervisor)
builder.add_node("historian", lambda state: work("historian", state))
builder.add_node("engineer", lambda state: work("engineer", state))
builder.add_edge(START, "supervisor")
builder.add_edge(["historian"], "supervisor")
builder.add_edge(["engineer"], "supervisor")
graph = builder.compile()

SHOWS = Example(
    family="Many agents",
    turns=[
        Turn(
            "Who built the tower?",
            "Eiffel built it.",
            agents=["supervisor", "historian"],
            by="historian",
        ),
        Turn(
            "How tall is it, and when was that?",
            "It is 330 m tall since 2022.",
            agents=["supervisor", "engineer", "historian"],
            by="historian",
        ),
    ],
    model={
        "supervisor. ... user: Who built the tower?": {"next": "historian"},
        "historian. ... user: Who built the tower?": "Eiffel built it.",
        "supervisor. ... user: Eiffel built it.": {"next": "FINISH"},
        "supervisor. ... user: How tall is it, and when was that?": {"next": "engineer"},
        "engineer. ... user: How tall is it, and when was that?": "It is 330 m tall.",
        "supervisor. ... user: It is 330 m tall.": {"next": "historian"},
        "historian. ... user: It is 330 m tall.": "It is 330 m tall since 2022.",
        "supervisor. ... user: It is 330 m tall since 2022.": {"next": "FINISH"},
    },
)
