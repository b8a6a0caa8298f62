"""A factory as an asynchronous context manager: what it opens is closed when it is no longer
needed.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from tests.graphs.example import Example, Turn


class Dictionary:
    """Stands for a connection to something."""

    def __init__(self) -> None:
        self.open = True

    def look_up(self, word: str) -> str:
        """Return a word's German. Raises `RuntimeError` after it was closed."""
        if not self.open:
            raise RuntimeError("the dictionary is closed")
        return {"cat": "Katze", "dog": "Hund"}[word]


@asynccontextmanager
async def make_graph() -> AsyncIterator[CompiledStateGraph]:
    """Yield the graph while the dictionary is open."""
    dictionary = Dictionary()
    model = ChatOpenAI(model="factory_async_context_manager", use_responses_api=False)

    async def look_up(state: MessagesState) -> dict:
        return {"messages": [AIMessage(dictionary.look_up(state["messages"][-1].text))]}

    async def explain(state: MessagesState) -> dict:
        return {"messages": [await model.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState).add_sequence([look_up, explain])
    builder.add_edge(START, "look_up")
    try:
        yield builder.compile()
    finally:
        dictionary.open = False


SHOWS = Example(
    family="Shapes of projects",
    graph="make_graph",
    turns=[
        Turn("cat", "A Katze says miau.", agents=["look_up", "explain"], by="explain"),
        Turn("dog", "A Hund says wau.", agents=["look_up", "explain"], by="explain"),
    ],
    model={
        "user: cat\nassistant: Katze": "A Katze says miau.",
        "user: dog\nassistant: Hund": "A Hund says wau.",
    },
)
