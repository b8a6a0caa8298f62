"""`@entrypoint` with `previous`: what a workflow returned comes back in the thread's next turn."""

from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="functional_previous", use_responses_api=False)


@entrypoint(checkpointer=InMemorySaver())
async def graph(message: str, *, previous: str | None = None) -> str:
    reply = await model.ainvoke([("system", f"Before: {previous}"), ("user", message)])
    return str(reply.text)


SHOWS = Example(
    family="Functional API",
    takes="",
    turns=[
        Turn("One", "One, then.", agents=["graph"], by="graph"),
        Turn("Two", "Two, after one.", agents=["graph"], by="graph"),
    ],
    model={
        "Before: None\nuser: One": "One, then.",
        "Before: One, then.\nuser: Two": "Two, after one.",
    },
)
