"""`add_node(..., error_handler=...)`: another function answers where a node has failed."""

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.errors import NodeError
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="failed_node_has_a_handler", use_responses_api=False)


async def answer(state: MessagesState) -> dict:
    reply = await model.ainvoke(state["messages"])
    if "?" in reply.text:
        raise ValueError("an answer is no question")
    return {"messages": [reply]}


def apologise(state: MessagesState, error: NodeError) -> dict:
    return {"messages": [AIMessage(f"Sorry, {error.node} has failed: {error.error}.")]}


builder = StateGraph(MessagesState)
builder.add_node(answer, error_handler=apologise)
builder.add_edge(START, "answer")
graph = builder.compile()

SHOWS = Example(
    family="Failures",
    turns=[
        Turn("Tea?", "Sorry, answer has failed: an answer is no question.", agents=["answer"]),
        Turn("Milk?", "Yes, milk.", agents=["answer"], by="answer"),
    ],
    model={"user: Tea?": "Is it tea?", "user: Milk?": "Yes, milk."},
)
