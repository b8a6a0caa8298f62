"""A node that iterates over `model.astream(...)` itself and builds its message from the pieces."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="streams_inside_node", use_responses_api=False)


async def talk(state: MessagesState) -> dict:
    whole = None
    async for piece in model.astream(state["messages"]):
        whole = piece if whole is None else whole + piece
    return {"messages": [whole]}


builder = StateGraph(MessagesState)
builder.add_node(talk)
builder.add_edge(START, "talk")
graph = builder.compile()

SHOWS = Example(
    family="Streams of one's own",
    turns=[
        Turn("Hello", "Hello to you.", agents=["talk"], by="talk"),
        Turn("Bye", "See you, after that hello.", agents=["talk"], by="talk"),
    ],
    model={
        "user: Hello": "Hello to you.",
        "Hello to you.\nuser: Bye": "See you, after that hello.",
    },
)
