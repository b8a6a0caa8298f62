"""`runtime.store`: what is learnt in one conversation is known in another one."""

from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.runtime import Runtime

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="memory_in_store", use_responses_api=False)


async def learn(state: MessagesState, runtime: Runtime) -> None:
    said = state["messages"][-1].text
    if said.startswith("Remember: "):
        await runtime.store.aput(("facts",), said, {"text": said.removeprefix("Remember: ")})


async def answer(state: MessagesState, runtime: Runtime) -> dict:
    facts = [item.value["text"] for item in await runtime.store.asearch(("facts",))]
    known = ("system", f"Known: {' '.join(facts)}")
    return {"messages": [await model.ainvoke([known, *state["messages"]])]}


builder = StateGraph(MessagesState).add_sequence([learn, answer])
builder.add_edge(START, "learn")
graph = builder.compile()

SHOWS = Example(
    family="Memory",
    turns=[
        Turn("Remember: Tom is my cat.", "I will.", agents=["learn", "answer"], by="answer"),
        Turn("Who is Tom?", "Your cat.", agents=["learn", "answer"], by="answer", fresh=True),
    ],
    model={
        "user: Remember: Tom is my cat.": "I will.",
        "system: Known: Tom is my cat.\nuser: Who is Tom?": "Your cat.",
    },
)
