"""A factory that takes the run's config, and builds the graph by its `configurable`."""

from langchain.agents import create_agent
from langchain_core.runnables import RunnableConfig
from langchain_openai import ChatOpenAI
from langgraph.graph.state import CompiledStateGraph

from tests.graphs.example import Example, Turn


def make_graph(config: RunnableConfig) -> CompiledStateGraph:
    """Return an agent that speaks the configured language."""
    language = (config.get("configurable") or {}).get("language", "English")
    model = ChatOpenAI(model="factory_with_config", use_responses_api=False)
    return create_agent(model, [], system_prompt=f"Speak {language}.", name="speaker")


SHOWS = Example(
    family="Shapes of projects",
    graph="make_graph",
    turns=[
        Turn("Hello", "Hello.", agents=["speaker"], by="speaker"),
        Turn("Bye", "Bye.", agents=["speaker"], by="speaker"),
        Turn(
            "Again",
            "Hallo.",
            agents=["speaker"],
            by="speaker",
            request={"config": {"configurable": {"language": "German"}}},
        ),
    ],
    model={
        "Speak English.\nuser: Hello": "Hello.",
        "Hello.\nuser: Bye": "Bye.",
        "Speak German. ... user: Again": "Hallo.",
    },
)
