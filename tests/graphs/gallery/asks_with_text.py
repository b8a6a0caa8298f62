"""`interrupt("...")` with a plain question; the next message of the thread is its value."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tests.graphs.example import Example, Turn


class Named(MessagesState):
    name: str


model = ChatOpenAI(model="asks_with_text", use_responses_api=False)


def ask(state: Named) -> dict:
    return {"name": state.get("name") or interrupt("What is your name?")}


def greet(state: Named) -> dict:
    asked = [("system", f"Greet {state['name']}."), *state["messages"]]
    return {"messages": [model.invoke(asked)]}


builder = StateGraph(Named).add_sequence([ask, greet])
builder.add_edge(START, "ask")
graph = builder.compile()

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Hello", asks=["What is your name?"], agents=["ask"]),
        Turn("Ada", "Hello, Ada!", agents=["ask", "greet"], by="greet"),
        Turn("Once more", "Hello again, Ada!", agents=["ask", "greet"], by="greet"),
    ],
    model={
        "Greet Ada.\nuser: Hello": "Hello, Ada!",
        "Greet Ada. ... user: Once more": "Hello again, Ada!",
    },
)
