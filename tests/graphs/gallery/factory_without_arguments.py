"""A factory: a function without arguments that makes the graph."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from tests.graphs.example import Example, Turn


def make_graph() -> CompiledStateGraph:
    """Return the graph."""
    model = ChatOpenAI(model="factory_without_arguments", use_responses_api=False)

    async def talk(state: MessagesState) -> dict:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node(talk)
    builder.add_edge(START, "talk")
    return builder.compile()


SHOWS = Example(
    family="Shapes of projects",
    graph="make_graph",
    turns=[
        Turn("Hello", "Hello.", agents=["talk"], by="talk"),
        Turn("Bye", "Bye.", agents=["talk"], by="talk"),
    ],
    model={"user: Hello": "Hello.", "Hello.\nuser: Bye": "Bye."},
)
