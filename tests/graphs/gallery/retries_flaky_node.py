"""A node that fails after it has spoken and is tried again by its `RetryPolicy`: its text comes
once.
"""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime
from langgraph.types import RetryPolicy

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="retries_flaky_node", use_responses_api=False)


async def flaky(state: MessagesState, runtime: Runtime) -> dict:
    attempt = runtime.execution_info.node_attempt
    reply = await model.ainvoke([("system", f"Attempt {attempt}."), *state["messages"]])
    if attempt == 1:
        raise ConnectionError("the line is bad")
    return {"messages": [reply]}


builder = StateGraph(MessagesState)
policy = RetryPolicy(initial_interval=0.01, jitter=False, retry_on=ConnectionError)
builder.add_node(flaky, retry_policy=policy)
builder.add_edge(START, "flaky")
graph = builder.compile()

SHOWS = Example(
    family="Failures",
    again=1,
    turns=[
        Turn("Hello", "Now it works.", agents=["flaky"], by="flaky"),
        Turn("Again", "It works again.", agents=["flaky"], by="flaky"),
    ],
    model={
        "Attempt 1.\nuser: Hello": "Hear me?",
        "Attempt 2.\nuser: Hello": "Now it works.",
        "Attempt 1. ... user: Again": "Hear me again?",
        "Attempt 2. ... user: Again": "It works again.",
    },
)
