"""`with_structured_output` inside a node: the JSON is the node's own business, its sentence the
answer.
"""

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from pydantic import BaseModel

from tests.graphs.example import Example, Turn


class Order(BaseModel):
    """What somebody wants to have."""

    item: str
    count: int


model = ChatOpenAI(model="structured_in_node", use_responses_api=False)
reader = model.with_structured_output(Order)


async def take(state: MessagesState) -> dict:
    order = await reader.ainvoke(state["messages"])
    return {"messages": [AIMessage(f"Noted: {order.count} x {order.item}.")]}


builder = StateGraph(MessagesState)
builder.add_node(take)
builder.add_edge(START, "take")
graph = builder.compile()

SHOWS = Example(
    family="Structured output",
    turns=[
        Turn("Two teas, please", "Noted: 2 x tea.", agents=["take"], by="take"),
        Turn("And a milk", "Noted: 1 x milk.", agents=["take"], by="take"),
    ],
    model={
        "user: Two teas, please": {"item": "tea", "count": 2},
        "user: And a milk": {"item": "milk", "count": 1},
    },
)
