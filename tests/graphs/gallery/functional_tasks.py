"""`@task`s in parallel; what the workflow makes of their texts and returns is the answer."""

from langchain_openai import ChatOpenAI
from langgraph.func import entrypoint, task
from typing_extensions import TypedDict

from tests.graphs.example import Example, Turn


class Topic(TypedDict):
    topic: str


model = ChatOpenAI(model="functional_tasks", use_responses_api=False)


@task
async def good(topic: str) -> str:
    return str((await model.ainvoke(f"Good about {topic}")).text)


@task
def bad(topic: str) -> str:
    return str(model.invoke(f"Bad about {topic}").text)


@entrypoint()
async def graph(inputs: Topic) -> dict:
    good_one, bad_one = good(inputs["topic"]), bad(inputs["topic"])
    return {"answer": f"+ {await good_one}\n- {await bad_one}"}


AGENTS = ("graph", "good", "bad")
SHOWS = Example(
    family="Functional API",
    again=1,
    takes="topic",
    turns=[
        Turn("tea", "+ It is warm.\n- It is wet.", agents=AGENTS, by="graph"),
        Turn("ice", "+ It is fresh.\n- It is cold.", agents=AGENTS, by="graph"),
    ],
    model={
        "Good about tea": "It is warm.",
        "Bad about tea": "It is wet.",
        "Good about ice": "It is fresh.",
        "Bad about ice": "It is cold.",
    },
)
