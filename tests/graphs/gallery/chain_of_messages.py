"""Two nodes that both append to `messages`: the last message is the answer, the first one a
step.
"""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="chain_of_messages", use_responses_api=False)


async def facts(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke([("system", "Facts."), *state["messages"]])]}


async def summary(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke([("system", "Summary."), *state["messages"]])]}


builder = StateGraph(MessagesState).add_sequence([facts, summary])
builder.add_edge(START, "facts")
graph = builder.compile()

SHOWS = Example(
    family="Workflows",
    turns=[
        Turn("Tea?", "A hot leaf.", agents=["facts", "summary"], by="summary"),
        Turn("Milk?", "A cold cow.", agents=["facts", "summary"], by="summary"),
    ],
    model={
        "Facts. ... user: Tea?": "Tea is a leaf. Tea is hot.",
        "Summary. ... Tea is hot.": "A hot leaf.",
        "Facts. ... user: Milk?": "Milk is from a cow. Milk is cold.",
        "Summary. ... Milk is cold.": "A cold cow.",
    },
)
