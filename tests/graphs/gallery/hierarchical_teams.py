"""Teams of teams: a router picks a team, which is a graph of its own with a router of its own."""

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import Command
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Choice(TypedDict):
    """Who answers."""

    next: str


model = ChatOpenAI(model="hierarchical_teams", use_responses_api=False)


def router(system: str):
    async def lead(state: MessagesState) -> Command:
        asked = [("system", system), *state["messages"]]
        choice = await model.with_structured_output(Choice).ainvoke(asked)
        return Command(goto=choice["next"])

    return lead


def worker(system: str):
    async def work(state: MessagesState) -> dict:
        return {"messages": [await model.ainvoke([("system", system), *state["messages"]])]}

    return work


kitchen = StateGraph(MessagesState)
kitchen.add_node("chef", router("You lead the kitchen."), destinations=("baker", "cook"))
kitchen.add_node("baker", worker("You bake."))
kitchen.add_node("cook", worker("You cook."))
kitchen.add_edge(START, "chef")

house = StateGraph(MessagesState)
house.add_node("host", router("You lead the house."), destinations=("kitchen", "garden"))
house.add_node("kitchen", kitchen.compile())
house.add_node("garden", worker("You garden."))
house.add_edge(START, "host")
house.add_edge("kitchen", END)
graph = house.compile()

SHOWS = Example(
    family="Many agents",
    turns=[
        Turn("Bread, please.", "It is in the oven.", agents=["host", "kitchen", "chef", "baker"]),
        Turn("And roses?", "They are red.", agents=["host", "garden"], by="garden"),
    ],
    model={
        "You lead the house. ... user: Bread, please.": {"next": "kitchen"},
        "You lead the kitchen. ... user: Bread, please.": {"next": "baker"},
        "You bake. ... user: Bread, please.": "It is in the oven.",
        "You lead the house. ... user: And roses?": {"next": "garden"},
        "You garden. ... user: And roses?": "They are red.",
    },
)
