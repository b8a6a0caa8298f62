"""`interrupt({...})` with fields of one's own: all of them reach the client."""

from langchain_core.messages import AIMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.types import interrupt

from tests.graphs.example import Example, Turn


class Mail(MessagesState):
    draft: str


model = ChatOpenAI(model="asks_with_fields", use_responses_api=False)


async def write(state: Mail) -> dict:
    return {"draft": (await model.ainvoke(state["messages"])).text}


async def review(state: Mail) -> dict:
    answer = interrupt(
        {"question": "Send this mail?", "draft": state["draft"], "options": ["yes", "no"]}
    )
    return {"messages": [AIMessage("It is sent." if answer == "yes" else "It stays here.")]}


builder = StateGraph(Mail).add_sequence([write, review])
builder.add_edge(START, "write")
graph = builder.compile()

SHOWS = Example(
    family="Humans",
    turns=[
        Turn("Write to Bob", asks=["Send this mail?"], agents=["write", "review"]),
        Turn("yes", "It is sent.", agents=["review"], by="review"),
        Turn("Write to Eve", asks=["Send this mail?"], agents=["write", "review"]),
        Turn("no", "It stays here.", agents=["review"], by="review"),
    ],
    model={"user: Write to Bob": "Dear Bob, hello.", "user: Write to Eve": "Dear Eve, hello."},
)
