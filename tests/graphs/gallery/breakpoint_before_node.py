"""`interrupt_before=["send"]`: the graph stops before a node; "yes" lets it go on."""

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="breakpoint_before_node", use_responses_api=False)


async def write(state: MessagesState) -> dict:
    return {"messages": [await model.ainvoke(state["messages"])]}


async def send(state: MessagesState) -> dict:
    return {"messages": [AIMessage(f"Sent: {state['messages'][-1].text}")]}


builder = StateGraph(MessagesState).add_sequence([write, send])
builder.add_edge(START, "write")
graph = builder.compile(interrupt_before=["send"])

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Write to Bob", asks=["send"], agents=["write"]),
        Turn("yes", "Sent: Dear Bob, hello.", agents=["send"], by="send", resume=None),
    ],
    model={"user: Write to Bob": "Dear Bob, hello."},
)
