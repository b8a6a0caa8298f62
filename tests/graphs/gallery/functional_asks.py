"""`interrupt()` in a workflow of functions: tasks that are done are not done again after the
answer.
"""

from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task
from langgraph.types import interrupt

from tests.graphs.example import Example, Turn

model = ChatOpenAI(model="functional_asks", use_responses_api=False)


@task
async def draft(topic: str) -> str:
    return str((await model.ainvoke(f"Draft: {topic}")).text)


@entrypoint()
async def graph(message: str) -> str:
    text = await draft(message)
    verdict = interrupt({"question": "Publish this?", "text": text})
    return f"{verdict}: {text}"


SHOWS = Example(
    family="Functional API",
    takes="",
    turns=[
        Turn("tea", asks=["Publish this?"], agents=["graph", "draft"]),
        Turn("Published", "Published: A leaf.", agents=["graph"], by="graph"),
        Turn("milk", asks=["Publish this?"], agents=["graph", "draft"]),
        Turn("Dropped", "Dropped: A cow.", agents=["graph"], by="graph"),
    ],
    model={"Draft: tea": "A leaf.", "Draft: milk": "A cow."},
)
