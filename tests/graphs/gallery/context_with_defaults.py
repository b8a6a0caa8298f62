"""`context_schema` with defaults, which a request's `context` may replace."""

from dataclasses import dataclass

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from tests.graphs.example import Example, Turn


@dataclass
class Style:
    """How to answer."""

    tone: str = "plain"
    words: int = 5


model = ChatOpenAI(model="context_with_defaults", use_responses_api=False)


async def answer(state: MessagesState, runtime: Runtime[Style]) -> dict:
    style = runtime.context
    asked = [("system", f"Be {style.tone}, {style.words} words."), *state["messages"]]
    return {"messages": [await model.ainvoke(asked)]}


builder = StateGraph(MessagesState, context_schema=Style)
builder.add_node(answer)
builder.add_edge(START, "answer")
graph = builder.compile()

SHOWS = Example(
    family="Shapes of projects",
    turns=[
        Turn("Hello", "Hello.", agents=["answer"], by="answer"),
        Turn("Again", "Hello again.", agents=["answer"], by="answer"),
        Turn(
            "Once more",
            "Ahoy!",
            agents=["answer"],
            by="answer",
            request={"context": {"tone": "salty"}},
        ),
    ],
    model={
        "Be plain, 5 words.\nuser: Hello": "Hello.",
        "Be plain, 5 words. ... user: Again": "Hello again.",
        "Be salty, 5 words. ... user: Once more": "Ahoy!",
    },
)
